package chaos_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

// fate is what befalls a request at Kling. It is the end of its prompt, where the simulated Kling reads it: a prompt with
// "[policy]" is refused and one with "fail:" fails without our doing.
type fate string

// The fates that have a name here. The others are the effects that the simulated Kling knows.
const (
	fatePlain     fate = "plain"
	fateRefused   fate = "[policy]"
	fateFails     fate = "fail: out of luck"
	fateSlow      fate = "slow"      // the task is stored after the client has given up
	fateLost      fate = "lost"      // no callback comes
	fateRepeated  fate = "repeated"  // each callback comes three times
	fateLate      fate = "late"      // the end is called back after polling has found it
	fateEarly     fate = "early"     // the end is called back before the create call is answered
	fateReordered fate = "reordered" // processing is called back after the end
	fateTooFast        = fate(klingtest.TooFast1302)
	fateNoTask         = fate(klingtest.Error500NoTask)
)

const (
	klingTimeout = 2 * time.Second
	slowness     = 2500 * time.Millisecond // of fateSlow
	lateness     = 3 * time.Second         // of fateLate
)

func fates() []fate {
	all := []fate{
		fatePlain, fatePlain, fatePlain, fateRefused, fateFails, fateSlow, fateLost, fateRepeated, fateLate, fateEarly,
		fateReordered,
	}
	for _, e := range []klingtest.Effect{
		klingtest.ResetAfterStore, klingtest.Gateway504AfterStore, klingtest.TruncateAfterStore, klingtest.HangAfterStore,
		klingtest.Error500AfterStore, klingtest.ResetBeforeStore, klingtest.Error500NoTask, klingtest.Error503NoTask,
		klingtest.HTML502NoTask, klingtest.TooFast1302, klingtest.TooFastNoCode429,
	} {
		all = append(all, fate(e))
	}
	return all
}

const fateMark = " | "

func prompt(id string, f fate) string { return id + fateMark + string(f) }

func (w *world) fateOf(t klingtest.TaskView) fate {
	_, f, _ := strings.Cut(t.Prompt, fateMark)
	return fate(f)
}

// idOf returns the id of the request that a task was made for.
func idOf(t klingtest.TaskView) string {
	id, _, _ := strings.Cut(t.Prompt, fateMark)
	return id
}

// createFault spoils the first create call of a request.
func (w *world) createFault(v klingtest.CreateView) klingtest.Fault {
	if v.Seen > 0 || w.calm.Load() {
		return nil
	}
	switch f := w.fateOf(v.TaskView); f {
	case fateSlow:
		return klingtest.Slow(slowness)
	case fatePlain, fateFails, fateLost, fateRepeated, fateLate, fateEarly, fateReordered:
		return nil
	default:
		return klingtest.Effect(f)
	}
}

// queryFault spoils one query in ten.
func (w *world) queryFault(klingtest.QueryView) klingtest.Fault {
	w.trap.pass(pointAsked)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.calm.Load() || w.dice.IntN(10) > 0 {
		return nil
	}
	effects := []klingtest.Effect{
		klingtest.Error500NoTask, klingtest.HTML502NoTask, klingtest.TooFast1302, klingtest.ResetBeforeStore,
	}
	return effects[w.dice.IntN(len(effects))]
}

func (w *world) callbackFault(v klingtest.CallbackView) klingtest.CallbackFault {
	if w.calm.Load() {
		return klingtest.CallbackFault{}
	}
	switch f := w.fateOf(v.TaskView); {
	case f == fateLost:
		return klingtest.CallbackFault{Lose: true}
	case f == fateRepeated:
		return klingtest.CallbackFault{Repeat: 2}
	case f == fateLate && v.Ended():
		return klingtest.CallbackFault{Delay: lateness}
	case f == fateEarly && v.Status == klingtest.StatusSubmitted:
		return klingtest.CallbackFault{Early: true}
	case f == fateReordered && !v.Ended():
		return klingtest.CallbackFault{Reorder: true}
	default:
		return klingtest.CallbackFault{}
	}
}

// asked is a request that JetStream has acknowledged.
type asked struct {
	events.Request
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
		w.publish(a.Request, "")
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
	w.publish(a.Request, "again-"+strconv.Itoa(w.repeats))
}

// deal returns the next fate of a shuffled deck, so that each has its turn.
func (w *world) deal() fate {
	if len(w.deck) == 0 {
		w.deck = fates()
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
	r := events.Request{ID: id, Metadata: map[string]string{"Order": id}}
	r.Priority = events.Priorities()[w.rng.IntN(len(events.Priorities()))]
	body := map[string]any{"prompt": prompt(id, f)}
	switch w.rng.IntN(6) {
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
		body["model"] = "kling-3.0"
	default:
		r.Kind = "text2video"
	}
	var err error
	if r.Body, err = json.Marshal(body); err != nil {
		w.t.Fatal(err)
	}
	return asked{Request: r, fate: f}
}

// publish returns when JetStream has acknowledged the request. An id of its own keeps the message from being taken for
// one that is already there.
func (w *world) publish(r events.Request, ownID string) {
	w.t.Helper()
	msg, err := r.Msg(w.subjects)
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
