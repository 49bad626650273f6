package poll

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/store"
)

// batchKling answers GET /tasks as Kling does: it knows every id but refuses all of a query with a poisoned one, or with
// more than 20 (recorded 2026-09).
type batchKling struct {
	poison string

	mu    sync.Mutex
	asked [][]string
}

func (k *batchKling) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ids := strings.Split(r.URL.Query().Get("task_ids"), ",")
	k.mu.Lock()
	k.asked = append(k.asked, ids)
	k.mu.Unlock()
	if len(ids) > 20 || slices.Contains(ids, k.poison) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"code":1201,"message":"task_ids and external_task_ids cannot exceed 20 in total"}`)
		return
	}
	var rows []string
	for _, id := range ids {
		rows = append(rows, fmt.Sprintf(`{"id":%q,"status":"succeeded"}`, id))
	}
	_, _ = io.WriteString(w, `{"code":0,"data":[`+strings.Join(rows, ",")+`]}`)
}

// pollAll asks for so many tasks of the newer API and returns what was settled: an error, or nil, by id.
func (k *batchKling) pollAll(t *testing.T, n int) map[string]error {
	t.Helper()
	server := httptest.NewServer(k)
	t.Cleanup(server.Close)
	client, err := kling.NewClient(kling.Options{BaseURL: server.URL, Credentials: kling.Credentials{APIKey: "key"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	kind, _ := kling.DefaultKinds().Lookup("text-to-video")
	var due []*dueTask
	for i := range n {
		due = append(due, &dueTask{kind: kind, rec: &store.Record{TaskID: fmt.Sprintf("task-%d", i)}})
	}
	var mu sync.Mutex
	settled := map[string]error{}
	settle := func(d *dueTask, task kling.Task, err error) {
		mu.Lock()
		defer mu.Unlock()
		if _, again := settled[d.rec.TaskID]; again || err == nil && task.ID != d.rec.TaskID {
			t.Errorf("%s is settled with %s, %v", d.rec.TaskID, task.ID, err)
		}
		settled[d.rec.TaskID] = err
	}
	p := &Poller{Log: slog.New(slog.DiscardHandler)}
	query{Poller: p, client: client, kind: kind, settle: settle}.byIDs(t.Context(), due)
	if len(settled) != n {
		t.Errorf("%d of %d tasks are settled", len(settled), n)
	}
	return settled
}

func TestBatchesAreFull(t *testing.T) {
	t.Parallel()
	k := &batchKling{}
	k.pollAll(t, 101)
	if len(k.asked) != 6 {
		t.Errorf("%d calls for 101 tasks, want 6: %v", len(k.asked), k.asked)
	}
}

// TestRefusedBatchIsHalved has one task whose id Kling refuses, and all that is asked with it.
func TestRefusedBatchIsHalved(t *testing.T) {
	t.Parallel()
	k := &batchKling{poison: "task-27"}
	for id, err := range k.pollAll(t, 45) {
		if (err != nil) != (id == k.poison) {
			t.Errorf("%s: %v", id, err)
		}
	}
	slices.SortFunc(k.asked, slices.Compare)
	if again := len(k.asked) - len(slices.CompactFunc(k.asked, slices.Equal)); again > 0 {
		t.Errorf("%d batches were asked for again as they were", again)
	}
	if n := len(k.asked); n > 3+2*5 { // three batches, and the halves of one of 20
		t.Errorf("%d calls", n)
	}
}
