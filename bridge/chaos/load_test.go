package chaos_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/events"
	eventbody "github.com/klingbridge/klingbridge/events/body"
)

// testRequest is a request that a test makes. The body is sent as it is.
type testRequest struct {
	Kind     string
	ID       string
	Priority events.Priority
	Timeout  time.Duration
	Metadata map[string]string
	Body     json.RawMessage
}

func (r testRequest) options() events.Options {
	return events.Options{ID: r.ID, Priority: r.Priority, Timeout: r.Timeout, Metadata: r.Metadata}
}

// asked is a request that JetStream has acknowledged.
type asked struct {
	testRequest
	fate fate
}

// ends is how the request has to end.
func (a asked) ends() events.Status {
	switch a.fate {
	case fateRefused:
		return events.StatusRejected
	case fateFails:
		return events.StatusFailed
	default:
		return events.StatusSucceed
	}
}

// ask makes n requests, the first of them with the fate that is needed, if one is. Some are made twice, and one that was
// made before is made again: under ids of their own, as far as JetStream's de-duplication goes.
func (w *world) ask(n int, needed fate) {
	w.t.Helper()
	for i := range n {
		f := w.deal()
		if i == 0 && needed != "" {
			f = needed
		}
		a := w.newRequest(f)
		w.publish(a.testRequest, "")
		w.asked[events.Token(a.ID)] = a
		w.order = append(w.order, a)
		if w.rng.IntN(5) == 0 {
			w.askAgain(a)
		}
	}
	if len(w.order) > 0 {
		w.askAgain(w.order[w.rng.IntN(len(w.order))])
	}
}

func (w *world) askAgain(a asked) {
	w.t.Helper()
	w.repeats++
	w.publish(a.testRequest, "again-"+strconv.Itoa(w.repeats))
}

// deal returns the next fate of a shuffled deck, so that each has its turn.
func (w *world) deal() fate {
	if len(w.deck) == 0 {
		w.deck = fates()
		if w.recorded {
			w.deck = append(w.deck, recordedFates()...)
		}
		if len(w.accounts) > 0 {
			w.deck = append(w.deck, fateFailsOnce, fateFailsOnce, fateFailsOnce, fateFailsTwice, fateFailsTwice)
		}
		w.rng.Shuffle(len(w.deck), func(i, j int) { w.deck[i], w.deck[j] = w.deck[j], w.deck[i] })
	}
	f := w.deck[0]
	w.deck = w.deck[1:]
	return f
}

func (w *world) newRequest(f fate) asked {
	id := fmt.Sprintf("order-%d", len(w.order)+1)
	if w.rng.IntN(4) == 0 {
		id = fmt.Sprintf("order %d, as people write it", len(w.order)+1) // no subject token
	}
	r := testRequest{ID: id, Metadata: map[string]string{"Order": id}}
	r.Priority = events.Priorities()[w.rng.IntN(len(events.Priorities()))]
	body := map[string]any{"prompt": prompt(id, f)}
	kinds := 6
	if w.recorded {
		kinds = 7
	}
	switch w.rng.IntN(kinds) {
	case 0:
		r.Kind = "image-generations"
		body["n"] = 1 + w.rng.IntN(3)
	case 1:
		r.Kind = "kolors-virtual-try-on"
		body["human_image"] = "https://example.com/human.png"
	case 2:
		r.Kind = "image2video"
		body["image"] = "https://example.com/first.png"
	case 3, 4:
		r.Kind = "text-to-video"
		body["model"] = []string{"kling-3.0", "kling-3.0-turbo"}[w.rng.IntN(2)]
	case 6:
		r.Kind = "drama-subtitle"
		body = map[string]any{"contents": []map[string]string{
			{"type": "video", "url": "https://example.com/a.mp4"}, {"type": "prompt", "text": prompt(id, f)},
		}}
	default:
		r.Kind = "text2video"
	}
	var err error
	if r.Body, err = json.Marshal(body); err != nil {
		w.t.Fatal(err)
	}
	return asked{testRequest: r, fate: f}
}

func (w *world) client() *events.Client {
	w.t.Helper()
	client, err := events.NewClientFor(w.js, w.subjects.Subjects)
	if err != nil {
		w.t.Fatal(err)
	}
	return client
}

// publish returns when JetStream has acknowledged the request. An id of its own keeps the message from being taken for
// one that is already there.
func (w *world) publish(r testRequest, ownID string) {
	w.t.Helper()
	msg, err := events.NewRequest(w.subjects.Subjects, eventbody.Raw(r.Kind, r.Body), r.options())
	if err != nil {
		w.t.Fatal(err)
	}
	if ownID != "" {
		msg.Header.Set(jetstream.MsgIDHeader, ownID)
	}
	w.eventually("request "+r.ID+" is acknowledged", func() bool { return w.tryPublish(msg) })
}

func (w *world) tryPublish(msg *nats.Msg) bool {
	_, err := w.js.PublishMsg(w.ctx, msg, jetstream.WithRetryAttempts(0))
	return err == nil
}
