package poll

import (
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/store"
)

// InProgress implements inHand.
func (d *dueTask) InProgress() error { return d.msg.InProgress() }

// dueTask is one fired record in the hands of this replica.
type dueTask struct {
	msg  jetstream.Msg
	rec  *store.Record
	kind kling.Kind
	seq  uint64
}

// sort is what can be asked about in one call: tasks of one kind and one account.
type sort struct {
	account string
	kind    kling.Kind
}

// sort is that of the task.
func (d *dueTask) sort() sort { return sort{d.rec.Account, d.kind} }

// dueQueue holds fired records until their sort is polled.
//
// Safe for concurrent use.
type dueQueue struct {
	mu     sync.Mutex
	queued map[sort][]*dueTask
	busy   map[sort]bool // somebody drains it
}

// NewDueQueue is empty.
func NewDueQueue() *dueQueue {
	return &dueQueue{queued: map[sort][]*dueTask{}, busy: map[sort]bool{}}
}

// add queues tasks and reports whether the caller has to see to it that they are drained.
func (q *dueQueue) add(of sort, tasks []*dueTask) (idle bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.queued[of] = append(q.queued[of], tasks...)
	idle = !q.busy[of]
	q.busy[of] = true
	return idle
}

// take returns all that is queued of a sort. When that is nothing, its drain has ended.
func (q *dueQueue) take(of sort) []*dueTask {
	q.mu.Lock()
	defer q.mu.Unlock()
	tasks := q.queued[of]
	delete(q.queued, of)
	q.busy[of] = len(tasks) > 0
	return tasks
}
