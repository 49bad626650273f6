package klingtest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

const (
	callbackAgent     = "Apache-HttpClient/4.5.13 (Java/11.0.14-internal)" // recorded, 2025-12
	maxCallbackConns  = 256
	maxCallbackAnswer = 64 << 10 // read of an answer, so that its connection can be used again
)

// callback is one message about one status of a task.
type callback struct {
	id     string // of the message: repeats and retries share it
	view   TaskView
	body   []byte
	repeat int // how many times more it is sent
	retry  int // which retry this is
}

// outbox sends the callbacks of one task one after the other. The server's mutex guards it.
type outbox struct {
	waiting []callback
	held    []callback    // until the end was called back
	idle    chan struct{} // closed when all are sent; nil: nothing is being sent
}

// callbackClient returns the client to call back with, which never follows a redirect.
func callbackClient(c *http.Client) *http.Client {
	if c == nil {
		c = &http.Client{Timeout: defaultCallbackTimeout, Transport: &http.Transport{
			MaxIdleConnsPerHost: maxCallbackConns, MaxConnsPerHost: maxCallbackConns,
		}}
	}
	client := *c
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client
}

// callsBack reports whether that status of the task is called back at all.
func (s *Server) callsBack(view TaskView) bool {
	if view.CallbackURL == "" || tellsEndOnly(view.Kind) && !view.Ended() {
		return false
	}
	switch s.options.Callbacks {
	case AllChanges:
		return true
	case TerminalOnly:
		return view.Ended()
	case None:
		return false
	default:
		return view.Status != StatusSubmitted
	}
}

// tellsEndOnly reports whether tasks of the kind call back once they have ended only, whatever others do (the pages of
// these solutions, 2026-09).
func tellsEndOnly(k kling.Kind) bool { return k.Name == tryOnSolution || k.Name == subtitleSolution }

// callBack sends a status on its way, as the fault allows.
func (s *Server) callBack(t *task, view TaskView, fault CallbackFault) {
	var batch []callback
	switch {
	case !s.callsBack(view):
	case fault.Lose:
		s.tell(Event{Type: CallbackLost, Task: view, Status: view.Status})
	default:
		batch = []callback{s.newCallback(t, view, fault)}
	}
	if view.Ended() {
		batch = append(batch, s.release(t)...)
	} else if fault.Reorder && s.hold(t, batch) {
		return
	}
	if fault.Delay > 0 {
		s.work.after(s.scaled(fault.Delay), func() { s.enqueue(t, batch...) })
		return
	}
	s.enqueue(t, batch...)
}

func (s *Server) newCallback(t *task, view TaskView, fault CallbackFault) callback {
	s.mu.Lock()
	told, id := *t, s.newID()
	s.mu.Unlock()
	told.TaskView = view // t may have moved on
	var object any = s.show(&told, RenderedCallback)
	switch {
	case fault.Body != "":
		return callback{id: id, view: view, body: []byte(fault.Body), repeat: fault.Repeat}
	case fault.Thin && view.Status == success(view.Kind):
		object = json.RawMessage(pick(s.dice, thinBodies(view)...))
	}
	if s.options.CallbackShape == Wrapped {
		object = struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
			Data    any    `json:"data"`
		}{0, "success", object}
	}
	return callback{id: id, view: view, body: encodeJSON(object), repeat: fault.Repeat}
}

// hold keeps callbacks until the end was called back, unless it was already.
func (s *Server) hold(t *task, batch []callback) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.Ended() {
		return false
	}
	t.callbacks.held = append(t.callbacks.held, batch...)
	return true
}

// release returns what was held.
func (s *Server) release(t *task) []callback {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := t.callbacks.held
	t.callbacks.held = nil
	return held
}

func (s *Server) enqueue(t *task, batch ...callback) {
	if len(batch) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t.callbacks.waiting = append(t.callbacks.waiting, batch...)
	if t.callbacks.idle == nil {
		t.callbacks.idle = make(chan struct{})
		s.work.run(func() { s.sendAll(t) })
	}
}

func (s *Server) sendAll(t *task) {
	for {
		c, ok := s.dequeue(t)
		if !ok {
			return
		}
		for range 1 + c.repeat {
			s.send(t, c)
		}
	}
}

func (s *Server) dequeue(t *task) (callback, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(t.callbacks.waiting) == 0 || s.ctx.Err() != nil {
		close(t.callbacks.idle)
		t.callbacks.idle = nil
		return callback{}, false
	}
	c := t.callbacks.waiting[0]
	t.callbacks.waiting = t.callbacks.waiting[1:]
	return c, true
}

// awaitCallbacks returns when what the task has to call back was sent once.
func (s *Server) awaitCallbacks(t *task) {
	s.mu.Lock()
	idle := t.callbacks.idle
	s.mu.Unlock()
	if idle == nil {
		return
	}
	select {
	case <-idle:
	case <-s.ctx.Done():
	}
}

// send makes one delivery, and has another made when it is not answered 2xx and retries are left.
func (s *Server) send(t *task, c callback) {
	status, err := s.post(c)
	accepted := status/100 == 2
	s.mu.Lock()
	t.CallbacksSent++
	if accepted {
		t.CallbacksAccepted++
	}
	s.mu.Unlock()
	event := Event{Type: CallbackAnswered, Task: c.view, Status: c.view.Status, HTTPStatus: status, Body: c.body, Err: err}
	if err != nil {
		event.Type = CallbackFailed
	}
	s.tell(event)
	if accepted || c.retry >= s.options.CallbackRetries {
		return
	}
	c.retry++
	c.repeat = 0
	s.work.after(s.scaled(s.options.CallbackBackoff), func() { s.enqueue(t, c) })
}

// post sends the callback with the headers recorded in 2025-12, and returns the HTTP status of the answer.
func (s *Server) post(c callback) (status int, err error) {
	r, err := http.NewRequestWithContext(s.ctx, http.MethodPost, c.view.CallbackURL, bytes.NewReader(c.body))
	if err != nil {
		return 0, fmt.Errorf("call back about task %s: %w", c.view.ID, err)
	}
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	r.Header.Set("User-Agent", callbackAgent)
	r.Header.Set("Accept-Encoding", "gzip,deflate")
	r.Header.Set(simulatedHeader, "true")
	s.sign(r.Header, c)
	response, err := s.http.Do(r)
	if err != nil {
		return 0, fmt.Errorf("call back about task %s: %w", c.view.ID, err)
	}
	defer response.Body.Close()
	_, _ = io.CopyN(io.Discard, response.Body, maxCallbackAnswer)
	return response.StatusCode, nil
}

// sign adds the headers of Standard Webhooks (Kling's webhook signature page, 2026-08), unless there is no secret.
func (s *Server) sign(h http.Header, c callback) {
	if s.webhookKey == nil {
		return
	}
	timestamp := strconv.FormatInt(s.options.Now().Unix(), 10)
	mac := hmac.New(sha256.New, s.webhookKey)
	mac.Write([]byte(c.id + "." + timestamp + "."))
	mac.Write(c.body)
	h.Set("webhook-id", c.id)
	h.Set("webhook-timestamp", timestamp)
	h.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}
