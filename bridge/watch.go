package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/clock"
	"github.com/klingbridge/klingbridge/bridge/dispatch"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

// watch finds out whether JetStream takes requests in and stores events, by what comes of trying: the publishes and pulls
// of the bridge itself, one small publish where there was none for a while, and a look at the streams. What it finds is
// what readiness says. A stream that is gone is made anew, and an embedded server whose store has been full is restarted.
type watch struct {
	bus      *bus.Bus
	opts     Options
	settings map[string]string // values that replicas share, by name
	subjects subjects.Subjects
	log      *slog.Logger
	replica  string
	consume  func(context.Context) error // makes the consumers
	restored func()                      // told that streams have disappeared
	suspect  func(time.Time)             // told that what was stored before may have been sent without anything being known of it

	looks       int
	lastSeq     map[string]uint64 // by stream
	witness     *bus.Message      // a public event of a while ago, which nobody but an operator deletes; nil: none yet
	wrong       []dispatch.Reason // with the streams
	lastRestart time.Time

	mu    sync.Mutex
	found []dispatch.Reason
}

const (
	// watchInterval is how often a look is taken. With the time that something has to fail for, a fault is told within 10 s.
	watchInterval = time.Second
	// streamsEvery is how many looks it takes until the streams are compared again.
	streamsEvery = 3
	// idleFor is how long nothing was stored before the watch stores something itself.
	idleFor = 3 * time.Second
	// probeTime bounds that.
	probeTime = 2 * time.Second
	// restartPause is the least time between two restarts of the embedded server.
	restartPause = 15 * time.Second
)

// run watches until ctx ends. The error is for what a restart of the process may mend.
func (w *watch) run(ctx context.Context) error {
	w.lastSeq = map[string]uint64{}
	for clock.Sleep(ctx, watchInterval) {
		if !w.bus.Connected() {
			continue // which readiness knows by itself
		}
		if err := w.look(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// look takes one look.
func (w *watch) look(ctx context.Context) error {
	if w.looks++; w.looks%streamsEvery == 1 {
		if err := w.lookAtStreams(ctx); err != nil {
			return err
		}
	}
	if time.Since(w.bus.Stored()) > idleFor {
		w.probe(ctx)
	}
	found, trouble := append(deniedBy(w.bus), w.wrong...), w.bus.Trouble()
	for _, line := range trouble {
		found = append(found, dispatch.Reason{Component: "nats", Reason: line})
	}
	w.tell(ctx, found)
	if len(trouble) == 0 || time.Since(w.lastRestart) < restartPause {
		return nil
	}
	restarted, err := w.bus.RestartEmbedded()
	if restarted || err != nil {
		w.lastRestart = time.Now()
		w.log.WarnContext(ctx, "restarted the embedded NATS server: its store took nothing", slog.Any("err", err))
	}
	return err
}

// lookAtStreams notes what is wrong with the streams, and makes those anew that are gone. The error is one that a restart
// of the process may mend.
func (w *watch) lookAtStreams(ctx context.Context) error {
	if err := w.bus.SyncClock(ctx, w.subjects.EventsStream()); err != nil {
		w.log.DebugContext(ctx, "clock", slog.Any("err", err))
	}
	w.compareSequences(ctx)
	lost, wrong := w.streams(ctx)
	if len(lost) > 0 {
		err := w.restore(ctx, lost)
		if errors.Is(err, errForeignSetting) {
			return err
		}
		if err != nil {
			wrong = append(wrong, dispatch.Reason{Component: "nats", Reason: err.Error()})
		}
	}
	w.wrong = slices.Concat(wrong, w.limits(ctx))
	w.bus.RetryDenied(ctx)
	return nil
}

// compareSequences notices that a stream holds less than it did: its last sequence only ever grows.
func (w *watch) compareSequences(ctx context.Context) {
	for _, name := range []string{w.subjects.RequestsStream(), w.subjects.EventsStream()} {
		state, err := w.bus.State(ctx, name)
		if err != nil {
			continue // which is found out by other means
		}
		if last := w.lastSeq[name]; state.LastSeq < last {
			w.log.ErrorContext(ctx, "a stream has gone back: what it stored last is lost, and requests are looked up before they are sent",
				slog.String("stream", name), slog.Uint64("last_sequence", state.LastSeq), slog.Uint64("was", last))
			w.lostState()
		}
		if name == w.subjects.EventsStream() {
			w.lookForPurge(ctx, w.lastSeq[name])
		}
		w.lastSeq[name] = state.LastSeq
	}
}

// streams compares the streams with what they should be. It returns the names of those that are gone, and what is wrong
// with the others.
func (w *watch) streams(ctx context.Context) (lost []string, wrong []dispatch.Reason) {
	for _, s := range CompareStreams(ctx, w.bus, w.opts) {
		_, conflict := errors.AsType[*bus.ConflictError](s.Err)
		switch {
		case errors.Is(s.Err, jetstream.ErrStreamNotFound):
			lost = append(lost, s.Name)
		case conflict:
			wrong = append(wrong, dispatch.Reason{Component: "nats", Reason: s.Err.Error()})
		case len(s.Drift) > 0:
			wrong = append(wrong, dispatch.Reason{Component: "nats", Reason: "stream " + s.Name + ": " + strings.Join(s.Drift, "; ")})
		case s.Err != nil:
			w.log.DebugContext(ctx, "look at a stream", slog.String("stream", s.Name), slog.Any("err", s.Err))
		}
	}
	return lost, wrong
}

// restore makes streams anew that have disappeared, with the consumers and the values that all replicas agree on.
func (w *watch) restore(ctx context.Context, lost []string) error {
	w.tell(ctx, []dispatch.Reason{{Component: "nats", Reason: fmt.Sprintf("streams have disappeared: %v", lost)}})
	w.lostState()
	if _, err := provision(ctx, w.bus, w.opts); err != nil {
		return fmt.Errorf("make streams anew: %w", err)
	}
	if err := keepSettings(ctx, w.bus, w.subjects, w.settings); err != nil {
		return err
	}
	if err := w.consume(ctx); err != nil {
		return fmt.Errorf("make consumers anew: %w", err)
	}
	w.log.WarnContext(ctx, "made streams anew that had disappeared: what they held is lost", slog.Any("streams", lost))
	return nil
}

// probe stores a message and removes it again, so that a store that takes nothing is noticed before a request needs it.
func (w *watch) probe(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	subject := w.subjects.Probe(w.replica)
	msg := nats.NewMsg(w.subjects.Put(subject))
	msg.Header.Set(events.HeaderRequestID, w.replica)
	ack, err := w.bus.Publish(ctx, msg)
	if err == nil && ack.Stored {
		err = w.bus.Delete(ctx, w.subjects.EventsStream(), ack.Seq)
	}
	if err != nil {
		w.log.DebugContext(ctx, "probe", slog.Any("err", err))
	}
}

// tell keeps what was found, and logs each fault when it begins and when it is over.
func (w *watch) tell(ctx context.Context, found []dispatch.Reason) {
	w.mu.Lock()
	before := w.found
	w.found = found
	w.mu.Unlock()
	for _, r := range found {
		if !slices.ContainsFunc(before, r.Alike) {
			w.log.ErrorContext(ctx, "not ready", slog.String("component", r.Component), slog.String("reason", r.Reason))
		}
	}
	for _, r := range before {
		if !slices.ContainsFunc(found, r.Alike) {
			w.log.InfoContext(ctx, "over", slog.String("component", r.Component), slog.String("reason", r.Reason))
		}
	}
}

// deniedBy lists what the server denies this replica: what it sends there is lost.
func deniedBy(b *bus.Bus) []dispatch.Reason {
	var all []dispatch.Reason
	for _, words := range b.Denied() {
		all = append(all, dispatch.Reason{Component: "nats", Reason: words})
	}
	return all
}

// reasons is what was found at the last look.
func (w *watch) reasons() []dispatch.Reason {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.found)
}

// warnings is what should be mended although requests are taken in.
func (w *watch) warnings() []dispatch.Reason {
	if w.bus == nil {
		return nil
	}
	if apart := ClocksApart(w.bus.ClockOffset()); apart != "" {
		return []dispatch.Reason{{Component: "clock", Reason: apart + ", by which the bridge goes: synchronise both (NTP)"}}
	}
	return nil
}
