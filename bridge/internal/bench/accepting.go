package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"
)

// kind is what is asked for.
const kind = "text2video"

// accepting is a Kling that creates every task at once and then does nothing: the bench calls back in its place. It is
// cheaper than the real simulation, which would take most of a small machine for itself.
type accepting struct {
	*httptest.Server

	mu    sync.Mutex
	last  int
	tasks []task // not taken yet
}

// task is one that was created.
type task struct {
	id, externalID, callbackURL string
}

func startAccepting() *accepting {
	a := &accepting{}
	a.Server = httptest.NewServer(a)
	return a
}

// ServeHTTP answers create calls, and every question with an empty list.
func (a *accepting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.Method != http.MethodPost {
		_, _ = io.WriteString(w, `{"code":0,"message":"SUCCEED","request_id":"r","data":[]}`) // who has gone wants none
		return
	}
	var body struct {
		CallbackURL    string `json:"callback_url"`
		ExternalTaskID string `json:"external_task_id"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	t := a.add(task{externalID: body.ExternalTaskID, callbackURL: body.CallbackURL})
	now := time.Now().UnixMilli()
	fmt.Fprintf(w, `{"code":0,"message":"SUCCEED","request_id":"r","data":{"task_id":"%s","task_status":"submitted",`+
		`"task_info":{"external_task_id":"%s"},"created_at":%d,"updated_at":%d}}`, t.id, t.externalID, now, now)
}

func (a *accepting) add(t task) task {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last++
	t.id = fmt.Sprintf("871%015d", a.last)
	a.tasks = append(a.tasks, t)
	return t
}

// take returns the tasks that were created since the last time.
func (a *accepting) take() []task {
	a.mu.Lock()
	defer a.mu.Unlock()
	tasks := a.tasks
	a.tasks = nil
	return tasks
}

// put gives tasks back that were taken.
func (a *accepting) put(tasks ...task) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tasks = append(a.tasks, tasks...)
}
