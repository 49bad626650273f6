package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

// overdue is what a task of each kind is asked for with.
func overdueRequests() map[string]string {
	return map[string]string{
		"text2video":    `{"prompt":"` + prompt + `"}`,
		"image2video":   `{"image":"https://example.com/boat.png","prompt":"` + prompt + `"}`,
		"text-to-video": `{"model":"kling-3.0","prompt":"` + prompt + `"}`,
	}
}

// measureOutage has every callback lost: the tasks have ended at Kling, all their timers have fired, and a program that
// was away comes back. A program that asks for one task after the other makes as many calls as there are tasks.
func measureOutage(ctx context.Context, b *bench) ([]row, error) {
	srv, err := b.startNATS(ctx, "")
	if err != nil {
		return nil, err
	}
	defer srv.stop()
	loop, err := b.startLoop(ctx, "-nats", srv.url, "-publishes", "2")
	if err != nil {
		return nil, err
	}
	defer loop.stop()
	n := b.of(9999, 1998) // a third of each kind
	var calls, times []pair
	for round := range b.rounds() {
		b.note("  round %d of %d", round+1, b.rounds())
		o, err := b.startOutage(ctx, srv, fmt.Sprintf("outage-%d", round))
		if err != nil {
			return nil, err
		}
		made, took, err := o.recover(ctx, b, n)
		o.stop()
		if err != nil {
			return nil, err
		}
		publishing, _, err := loop.run(n)
		if err != nil {
			return nil, err
		}
		calls = append(calls, pair{float64(made), float64(n)})
		times = append(times, secondsPair(took, publishing))
	}
	return []row{
		// The newer API takes 20 ids a call, and a third of the tasks are its.
		b.judge(fmt.Sprintf("%d overdue tasks of three kinds: calls to Kling", n), plainly, atMost(0.02, ratio), calls),
		b.judge("  until all are completed; two publishes of each alone", seconds, atMost(2, ratio), times),
	}, nil
}

// outage is a simulated Kling whose callbacks are lost.
type outage struct {
	srv       *natsServer
	sim       *klingtest.Server
	api       *httptest.Server
	setup     setup
	subjects  subjects.Subjects
	templates []overdue
}

// overdue is a real task and its record, to make others like it.
type overdue struct {
	template
	task klingtest.TaskView
}

// startOutage has the program make one task of each kind.
func (b *bench) startOutage(ctx context.Context, srv *natsServer, prefix string) (o *outage, err error) {
	sim, err := klingtest.New(klingtest.Options{
		APIKeys: []string{apiKey}, Callbacks: klingtest.None,
		Slots: map[kling.Pool]int{kling.PoolVideo: 1 << 20},
		DurationOf: func(t klingtest.TaskView) time.Duration {
			if bytes.Contains(t.Body, []byte(templateID)) {
				return 24 * time.Hour
			}
			return 2 * time.Millisecond
		},
	})
	if err != nil {
		return nil, err
	}
	o = &outage{srv: srv, sim: sim, api: httptest.NewServer(sim)}
	o.setup = setup{natsURL: srv.url, prefix: prefix, kling: o.api.URL}
	p, err := b.startBridge(ctx, o.setup)
	if err != nil {
		o.stop()
		return nil, err
	}
	defer p.stop()
	o.subjects = p.subjects
	for kind, body := range overdueRequests() {
		if err := o.make(ctx, kind, body); err != nil {
			o.stop()
			return nil, err
		}
	}
	return o, nil
}

// make requests one task and keeps what was stored about it.
func (o *outage) make(ctx context.Context, kind, body string) error {
	submitted, err := o.srv.watch(o.subjects.Progress(kind, events.StatusSubmitted, "*"))
	if err != nil {
		return err
	}
	defer func() { _ = submitted.sub.Unsubscribe() }()
	id := templateID + "-" + kind
	err = o.srv.publishAll(ctx, 1, func(int) *nats.Msg {
		msg := nats.NewMsg(o.subjects.Request(kind, events.PriorityNormal))
		msg.Header.Set(events.HeaderRequestID, id)
		msg.Data = []byte(body)
		return msg
	})
	if err != nil {
		return err
	}
	if _, err := submitted.await(ctx, 1); err != nil {
		return err
	}
	tasks := o.sim.Tasks()
	task := tasks[len(tasks)-1]
	s, err := o.srv.cut(ctx, o.subjects, o.subjects.StateOf(id), task.ID)
	o.templates = append(o.templates, overdue{template: s, task: task})
	return err
}

func (o *outage) stop() {
	o.sim.Close() // first: it lets go of calls
	o.api.Close()
}

// recover makes n tasks that have ended and whose timers have fired, starts the program, and returns how many calls it
// made until all were completed and how long it took since it was ready.
func (o *outage) recover(ctx context.Context, b *bench, n int) (calls int, took time.Duration, err error) {
	ids, err := o.createAll(ctx, n)
	if err != nil {
		return 0, 0, err
	}
	err = until(ctx, "every task has ended", func() (bool, error) {
		last, ok := o.sim.Task(ids[n-1])
		return ok && last.Ended(), nil
	})
	if err != nil {
		return 0, 0, err
	}
	err = o.srv.publishAll(ctx, n, func(i int) *nats.Msg {
		s := o.templates[i%len(o.templates)]
		id := copyID(i) + "-" + s.task.Kind.Name
		msg := s.copy(copyID(i), ids[i])
		msg.Subject = o.subjects.Put(o.subjects.Due(s.task.Kind.Name, string(s.task.Kind.Pool), id))
		return msg
	})
	if err != nil {
		return 0, 0, err
	}
	completed, err := o.srv.watch(o.subjects.AllCompletions())
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = completed.sub.Unsubscribe() }()
	before := o.sim.Calls()
	p, err := b.startBridge(ctx, o.setup)
	if err != nil {
		return 0, 0, err
	}
	defer p.stop()
	ready := time.Now()
	last, err := completed.await(ctx, n)
	after := o.sim.Calls()
	return after.Queries + after.ListPages - before.Queries - before.ListPages, last.Sub(ready), err
}

// createAll makes tasks at Kling as the program would have, and returns their ids.
func (o *outage) createAll(ctx context.Context, n int) ([]string, error) {
	ids := make([]string, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, loopWorkers)
	for range loopWorkers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				id, err := o.create(ctx, o.templates[i%len(o.templates)].task, copyID(i))
				if err != nil {
					errs <- err
					return
				}
				ids[i] = id
			}
		})
	}
	wg.Wait()
	close(errs)
	return ids, <-errs
}

// create makes a task like another one, without a socket.
func (o *outage) create(ctx context.Context, like klingtest.TaskView, id string) (taskID string, err error) {
	externalID := string(bytes.ReplaceAll([]byte(like.ExternalID), []byte(templateID), []byte(id)))
	body := bytes.ReplaceAll(like.Body, []byte(templateID), []byte(id))
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, o.api.URL+like.Kind.CreatePath(like.Model), bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+apiKey)
	answer := httptest.NewRecorder()
	o.sim.ServeHTTP(answer, r)
	task, ok := o.sim.Task(externalID)
	if !ok {
		return "", fmt.Errorf("create a task: %s", answer.Body)
	}
	return task.ID, nil
}
