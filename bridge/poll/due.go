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

// dueQueue holds fired records until their kind is polled.
//
// Safe for concurrent use.
type dueQueue struct {
	mu     sync.Mutex
	queued map[kling.Kind][]*dueTask
	busy   map[kling.Kind]bool // somebody drains it
}

// NewDueQueue is empty.
func NewDueQueue() *dueQueue {
	return &dueQueue{queued: map[kling.Kind][]*dueTask{}, busy: map[kling.Kind]bool{}}
}

// add queues tasks and reports whether the caller has to see to it that they are drained.
func (q *dueQueue) add(kind kling.Kind, tasks []*dueTask) (idle bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.queued[kind] = append(q.queued[kind], tasks...)
	idle = !q.busy[kind]
	q.busy[kind] = true
	return idle
}

// take returns all that is queued of a kind. When that is nothing, its drain has ended.
func (q *dueQueue) take(kind kling.Kind) []*dueTask {
	q.mu.Lock()
	defer q.mu.Unlock()
	tasks := q.queued[kind]
	delete(q.queued, kind)
	q.busy[kind] = len(tasks) > 0
	return tasks
}
