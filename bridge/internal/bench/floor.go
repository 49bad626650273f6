package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

const (
	floorCommand = "floor"
	// floorPrefix keeps the floor's stream apart from the program's.
	floorPrefix = "floor"
	// eventsKept is the program's default for how long its stream keeps events.
	eventsKept = 30 * 24 * time.Hour
)

// readyMade is a completion as the program publishes it, but for what differs from request to request.
type readyMade struct {
	Header nats.Header `json:"header"`
	Data   []byte      `json:"data"`
}

// floor is what the guarantees leave at the NATS server: a handler that publishes the very message of the program, ready-made,
// into a stream like the program's. The guard with wildcards, the removal of a timer, the subject transform and the republish
// are all in it, and nothing of what the program does itself: it verifies, decodes, looks up, encodes and logs nothing.
type floor struct {
	js      jetstream.JetStream
	message readyMade
	names
}

// names are the subjects of what the floor publishes.
type names struct {
	subjects.Subjects
	pool string
}

func floorNames() (names, error) {
	s, err := subjects.New(floorPrefix)
	k, _ := kling.DefaultKinds().Lookup(kind)
	return names{s, string(k.Pool)}, err
}

func (n names) completion(id string) string { return n.Completion(kind, events.StatusSucceed, id) }
func (n names) timer(id string) string      { return n.Pending(kind, n.pool, id) }

// serveFloor is the floor as a process. It prints where it listens.
func serveFloor(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet(floorCommand, flag.ContinueOnError)
	url := flags.String("nats", "", "server")
	file := flags.String("message", "", "`file` with the message")
	if err := flags.Parse(args); err != nil {
		return err
	}
	data, err := os.ReadFile(*file)
	if err != nil {
		return err
	}
	f := &floor{}
	if err := json.Unmarshal(data, &f.message); err != nil {
		return err
	}
	if f.names, err = floorNames(); err != nil {
		return err
	}
	nc, err := nats.Connect(*url)
	if err != nil {
		return err
	}
	defer nc.Close()
	if f.js, err = jetstream.New(nc); err != nil {
		return err
	}
	if _, err := f.js.CreateStream(ctx, store.EventsStream(f.Subjects, eventsKept)); err != nil {
		return err
	}
	return serveCallbacks(ctx, f.publish)
}

func (f *floor) publish(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	id := r.PathValue("id")
	msg := &nats.Msg{Subject: f.Put(f.completion(id)), Header: maps.Clone(f.message.Header), Data: f.message.Data}
	msg.Header.Set(jetstream.MsgIDHeader, id+".completion")
	bus.GuardSequence(msg, f.CompletionOf(id), 0)
	bus.PurgeTimer(msg, f.timer(id))
	if _, err := f.js.PublishMsg(r.Context(), msg); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusOK)
}

// startFloorLike starts it with the completion of a request that the program has handled.
func (b *bench) startFloorLike(ctx context.Context, l *line, url string) (*plain, error) {
	like, err := l.trace(ctx, true)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(readyMade{Header: like.header, Data: like.data})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(b.dir, "completion.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return nil, err
	}
	c, addr, err := b.startSelf(ctx, floorCommand, "-nats", url, "-message", file)
	if err != nil {
		return nil, err
	}
	return &plain{child: c, addr: addr}, nil
}

// armTimers stores the timers that the floor's next n messages remove, as a task that was submitted has one.
func (c *natsClient) armTimers(ctx context.Context, p *plain, n int) error {
	names, err := floorNames()
	if err != nil {
		return err
	}
	data := make([]byte, loopBytes)
	return c.publishAll(ctx, n, func(i int) *nats.Msg {
		id := postID(p.posts + 1 + i)
		msg := nats.NewMsg(names.Put(names.timer(id)))
		msg.Data = data
		bus.ScheduleAt(msg, time.Now().Add(time.Hour), names.Put(names.Due(kind, names.pool, id)))
		return msg
	})
}

func postID(n int) string { return fmt.Sprintf("order-%09d", n) }
