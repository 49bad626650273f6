package bus

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// group stores what is published at the same time together. The embedded server syncs every message that comes by
// itself before it takes the next one, but an atomic batch only once, so that many publishers wait for one sync instead
// of one for each. A batch costs about as much as fifteen single messages (nats-server 2.15, bridge/adr/0005).
//
// Nothing rests on a batch being atomic. One that is refused, because of the guard of any of its messages, or whose
// outcome is unknown is published again message by message, and each gets an answer of its own.
type group struct {
	prefix string // of the subjects of one stream that takes atomic batches
	nc     *nats.Conn
	alone  func(context.Context, *nats.Msg) (Ack, again, error)

	waiting chan *grouped
	stop    chan struct{}
	stopped chan struct{}
}

const (
	// minBatch is how many messages are worth a batch, and maxBatch how many one may have: the server's limit is 1000.
	minBatch = 16
	maxBatch = 256
	// enoughBytes of messages are a batch too: it is in memory as a whole.
	enoughBytes = 4 << 20
)

// grouped is one publish that waits for its round.
type grouped struct {
	ctx   context.Context
	msg   *nats.Msg
	reply chan reply // has room for the one that it gets
}

type reply struct {
	ack   Ack
	again again
	err   error
}

func newGroup(prefix string, nc *nats.Conn, alone func(context.Context, *nats.Msg) (Ack, again, error)) *group {
	g := &group{
		prefix: prefix, nc: nc, alone: alone,
		waiting: make(chan *grouped, maxBatch), stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	go g.run()
	return g
}

// close ends the rounds and waits for the last one.
func (g *group) close() {
	close(g.stop)
	<-g.stopped
}

func (g *group) takes(msg *nats.Msg) bool { return strings.HasPrefix(msg.Subject, g.prefix) }

// publish is one try, whose outcome is unknown when ctx ends first.
func (g *group) publish(ctx context.Context, msg *nats.Msg) (Ack, again, error) {
	it := &grouped{ctx: ctx, msg: msg, reply: make(chan reply, 1)}
	select {
	case g.waiting <- it:
	case <-ctx.Done():
		return Ack{}, later, ctx.Err()
	case <-g.stopped:
		return Ack{}, never, nats.ErrConnectionClosed
	}
	select {
	case r := <-it.reply:
		return r.ack, r.again, r.err
	case <-ctx.Done():
		return Ack{}, later, ctx.Err()
	case <-g.stopped:
		return Ack{}, never, nats.ErrConnectionClosed
	}
}

// run publishes in rounds: what comes during one goes into the next.
func (g *group) run() {
	defer close(g.stopped)
	for {
		select {
		case <-g.stop:
			return
		case first := <-g.waiting:
			g.round(g.gather(first))
		}
	}
}

func (g *group) gather(first *grouped) []*grouped {
	items, size := []*grouped{first}, first.msg.Size()
	for len(items) < maxBatch && size < enoughBytes {
		select {
		case it := <-g.waiting:
			items = append(items, it)
			size += it.msg.Size()
		default:
			return items
		}
	}
	return items
}

func (g *group) round(items []*grouped) {
	if len(items) >= minBatch {
		if last, err := g.batch(items); err == nil {
			for i, it := range items {
				it.reply <- reply{ack: Ack{Seq: last - uint64(len(items)-1-i), Stored: true}}
			}
			return
		}
	}
	var publishing sync.WaitGroup
	for _, it := range items {
		publishing.Go(func() {
			ack, again, err := g.alone(it.ctx, it.msg)
			it.reply <- reply{ack, again, err}
		})
	}
	publishing.Wait()
}

// batch stores all messages or none, one after the other, and returns the sequence of the last.
func (g *group) batch(items []*grouped) (last uint64, err error) {
	id := rand.Text()
	final := len(items) - 1
	for i, it := range items[:final] {
		if err := g.nc.PublishMsg(inBatch(it.msg, id, i+1)); err != nil {
			return 0, err
		}
	}
	msg := inBatch(items[final].msg, id, len(items))
	msg.Header.Set("Nats-Batch-Commit", "1")
	ctx, cancel := context.WithTimeout(context.Background(), attemptTimeout)
	defer cancel()
	answer, err := g.nc.RequestMsgWithContext(ctx, msg)
	if err != nil {
		return 0, err
	}
	var ack struct {
		Error *jetstream.APIError `json:"error"`
		Seq   uint64              `json:"seq"`
		Count int                 `json:"count"`
	}
	switch err := json.Unmarshal(answer.Data, &ack); {
	case err != nil:
		return 0, err
	case ack.Error != nil:
		return 0, ack.Error
	case ack.Count != len(items):
		return 0, fmt.Errorf("batch of %d messages: %w", len(items), errors.New("acknowledged as "+strconv.Itoa(ack.Count)))
	}
	return ack.Seq, nil
}

// inBatch is a copy of msg with its place in a batch: should the batch come to nothing, msg is published by itself.
func inBatch(msg *nats.Msg, id string, place int) *nats.Msg {
	header := make(nats.Header, len(msg.Header)+3)
	maps.Copy(header, msg.Header)
	header.Set("Nats-Batch-Id", id)
	header.Set("Nats-Batch-Sequence", strconv.Itoa(place))
	return &nats.Msg{Subject: msg.Subject, Header: header, Data: msg.Data}
}
