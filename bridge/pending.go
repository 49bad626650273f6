package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
	"github.com/klingbridge/klingbridge/events"
)

// state of a pending record.
type state string

// The states of a record.
const (
	stateUnheard   state = ""          // nothing is stored of the request: its record was made of a URL alone
	stateCreating  state = "creating"  // the create call may have been sent
	stateSubmitted state = "submitted" // Kling gave the task an id
)

// record is all the bridge knows of a task that has not ended. It is stored as a message on the pending subject of its
// request and is its timer at the same time: when it is due, the server moves it to the due subject, which is work for
// the poller.
//
// Replicas of several versions work on the same records while the bridge is upgraded. A version may add members, which
// others keep when they write the record again. It never changes the type of one; a change of meaning, also of what may
// be done with a record, raises v. A record of a higher v than a replica knows is only read by it: the replica creates,
// polls and ends nothing for it and leaves all that to one of the newer version, except that a callback completes it.
type record struct {
	Version        int               `json:"v"`
	RequestID      string            `json:"request_id"`
	Kind           string            `json:"kind"`
	State          state             `json:"state"`
	Owner          uint64            `json:"owner"` // sequence of the request message that may create the task
	Claim          string            `json:"claim"` // changes with every send, so that a lost ack is told from a lost race
	Attempt        int               `json:"attempt"`
	Certain        int               `json:"certain,omitempty"`   // sends before the last that are not known to have been lost, see certain
	ClaimedAt      time.Time         `json:"claimed_at"`          // before the last send
	EarlierAt      time.Time         `json:"earlier_at,omitzero"` // the last send before that which may have reached Kling
	Upload         time.Duration     `json:"upload,omitempty"`    // what the body adds to the time that a send may take
	ExternalTaskID string            `json:"external_task_id"`
	TaskID         string            `json:"task_id,omitempty"`
	Slots          int               `json:"slots"`
	Model          string            `json:"model,omitempty"` // that the request names
	RequestedAt    time.Time         `json:"requested_at"`
	SubmittedAt    time.Time         `json:"submitted_at,omitzero"`
	Deadline       time.Time         `json:"deadline"`
	Polls          int               `json:"polls,omitempty"`
	NextPollAt     time.Time         `json:"next_poll_at,omitzero"`
	Metadata       map[string]string `json:"metadata,omitempty"`
	ReplayOf       string            `json:"replay_of,omitempty"`
	Trace          telemetry.Trace   `json:"trace,omitzero"` // of the request

	Unknown json.RawMessage `json:"-"` // members of a newer version, as an object; nil: none

	EndedAs events.Status `json:"-"` // of a record made of a completion: its status
}

// token is that of the record's request.
func (r *record) token() string { return events.Token(r.RequestID) }

// entry is a record as it was found.
type entry struct {
	rec *record
	seq uint64
	due bool // its timer has fired and the poller has it
}

// ledger reads and writes what is known of requests. It is the only one that does.
type ledger struct {
	bus       *bus.Bus
	subjects  events.Subjects
	kinds     kling.Kinds
	retention time.Duration
	telemetry *telemetry.Tracer
	metrics   *storeMetrics
	dead      *deadLetters
	log       *slog.Logger
}

// publishTimeout bounds one certain write outside HTTP handlers: longer than a leader failover, which takes up to 8 s.
const publishTimeout = 20 * time.Second

// errUnknownKind is returned for a record of a kind that is no longer in the table.
var errUnknownKind = errors.New("unknown kind")

// now is the time by the NATS server's clock, by which timers fire and deadlines count.
func (l *ledger) now() time.Time { return l.bus.Now() }

func (l *ledger) pool(kind string) (kling.Pool, error) {
	k, ok := l.kinds.Lookup(kind)
	if !ok {
		return "", fmt.Errorf("%w %q", errUnknownKind, kind)
	}
	return k.Pool, nil
}

// intend stores the record of a request before its task is created. It stores nothing and returns false if anything at
// all is known of the request: this is what keeps a repeated request from becoming a second task.
func (l *ledger) intend(ctx context.Context, rec *record, fireAt time.Time) (seq uint64, first bool, err error) {
	msg, err := l.pendingMsg(rec, fireAt)
	if err != nil {
		return 0, false, err
	}
	if err := l.bus.RoomToBegin(ctx); err != nil {
		return 0, false, err
	}
	bus.GuardSequence(msg, l.subjects.AnythingOf(rec.token()), 0)
	return l.put(ctx, msg)
}

// claim replaces the record if it is still the one with that sequence. It must hold before every further send: a
// replica that was taken for dead finds its claim gone.
func (l *ledger) claim(ctx context.Context, rec *record, fireAt time.Time, seq uint64) (next uint64, held bool, err error) {
	msg, err := l.pendingMsg(rec, fireAt)
	if err != nil {
		return 0, false, err
	}
	pool, err := l.pool(rec.Kind)
	if err != nil {
		return 0, false, err
	}
	if err := l.bus.RoomToBegin(ctx); err != nil {
		return 0, false, err
	}
	bus.GuardSequence(msg, l.subjects.Pending(rec.Kind, string(pool), rec.token()), seq)
	return l.put(ctx, msg)
}

// arm replaces the record unless the request has been completed.
func (l *ledger) arm(ctx context.Context, rec *record, fireAt time.Time) (stored bool, err error) {
	msg, err := l.pendingMsg(rec, fireAt)
	if err != nil {
		return false, err
	}
	bus.GuardSequence(msg, l.subjects.CompletionOf(rec.token()), 0)
	_, stored, err = l.put(ctx, msg)
	return stored, err
}

// rearm puts the record back whose timer has fired, unless there is a newer record of the request or its end: fired is the
// sequence of the one that is to be put back. Its request may be adopted at this moment, and what that stores is newer
// than the copy in the hands of whoever saw the timer fire.
func (l *ledger) rearm(ctx context.Context, rec *record, fireAt time.Time, fired uint64) (stored bool, err error) {
	token := rec.token()
	for ctx.Err() == nil {
		newest, err := l.shelf().last(ctx, l.subjects.AnythingOf(token)) // first: the guard finds what comes after it
		if err != nil {
			return false, ignoreGone(err)
		}
		known, err := l.shelf().last(ctx, l.subjects.StateOf(token))
		if err != nil || known.Seq != fired {
			return false, ignoreGone(err)
		}
		if _, err := l.shelf().last(ctx, l.subjects.CompletionOf(token)); !errors.Is(err, bus.ErrNoMessage) {
			return false, err
		}
		msg, err := l.pendingMsg(rec, fireAt)
		if err != nil {
			return false, err
		}
		bus.GuardSequence(msg, l.subjects.AnythingOf(token), newest.Seq)
		if _, stored, err = l.put(ctx, msg); stored || err != nil {
			return stored, err
		}
	}
	return false, ctx.Err()
}

// ignoreGone takes it for no error that there is no message any more.
func ignoreGone(err error) error {
	if errors.Is(err, bus.ErrNoMessage) {
		return nil
	}
	return err
}

// dueNow hands the record to the poller at once, beside the timer, unless Kling can have nothing to say of it that
// matters: the request has ended, and not by expiry or cancellation, or its late result is known.
func (l *ledger) dueNow(ctx context.Context, rec *record) error {
	_, err := l.dueUnlessEnded(ctx, rec)
	return err
}

// dueUnlessEnded is dueNow for those who want to know whether Kling is asked.
func (l *ledger) dueUnlessEnded(ctx context.Context, rec *record) (due bool, err error) {
	due, err = l.putDue(ctx, rec, l.subjects.CompletionOf(rec.token()))
	if due || err != nil {
		return due, err
	}
	_, ended, err := l.completion(ctx, rec.token())
	if err != nil || !mayBeLate(ended.Status) {
		return false, err
	}
	return l.putDue(ctx, rec, l.subjects.LateOf(rec.token()))
}

// putDue stores the record as one whose timer has fired, unless there is a message on the guarded subjects.
func (l *ledger) putDue(ctx context.Context, rec *record, guard string) (stored bool, err error) {
	data, err := rec.encode()
	if err != nil {
		return false, err
	}
	pool, err := l.pool(rec.Kind)
	if err != nil {
		return false, err
	}
	msg := nats.NewMsg(l.subjects.Put(l.subjects.Due(rec.Kind, string(pool), rec.token())))
	msg.Data = data
	bus.GuardSequence(msg, guard, 0)
	_, stored, err = l.put(ctx, msg)
	return stored, err
}

// mayBeLate tells the ends after which a task's own end is still news.
func mayBeLate(s events.Status) bool { return s == events.StatusExpired || s == events.StatusCancelled }

// withdraw forgets a record whose create call certainly made no task: the request waits as if it had never been tried.
func (l *ledger) withdraw(ctx context.Context, seq uint64) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	return l.bus.Delete(ctx, l.subjects.EventsStream(), seq)
}

// load returns the newest record of a request, or bus.ErrNoMessage.
func (l *ledger) load(ctx context.Context, token string) (entry, error) {
	m, err := l.shelf().last(ctx, l.subjects.StateOf(token))
	if err != nil {
		return entry{}, err
	}
	rec, err := decodeRecord(m.Data)
	if err != nil {
		return entry{}, fmt.Errorf("record on %s: %w", m.Subject, err)
	}
	parsed, _ := l.subjects.Parse(m.Subject)
	return entry{rec: rec, seq: m.Seq, due: parsed.Type == "due"}, nil
}

// completion returns the stored completion of a request, or bus.ErrNoMessage.
func (l *ledger) completion(ctx context.Context, token string) (*bus.Message, *events.Event, error) {
	m, err := l.shelf().last(ctx, l.subjects.CompletionOf(token))
	if err != nil {
		return nil, nil, err
	}
	var ev events.Event
	if err := json.Unmarshal(m.Data, &ev); err != nil {
		return nil, nil, fmt.Errorf("completion on %s: %w", m.Subject, err)
	}
	return m, &ev, nil
}

// pendingMsg is the record as a timer. It never waits longer than half the retention: firing and arming anew is what
// keeps a record from ageing out of the stream. A record of a newer version is never written as one: its timer means what
// that version says.
func (l *ledger) pendingMsg(rec *record, fireAt time.Time) (*nats.Msg, error) {
	if rec.newer() {
		return nil, fmt.Errorf("request %s: %w", rec.RequestID, errNewer)
	}
	data, err := rec.encode()
	if err != nil {
		return nil, err
	}
	pool, err := l.pool(rec.Kind)
	if err != nil {
		return nil, err
	}
	if latest := l.now().Add(l.retention / 2); fireAt.After(latest) {
		fireAt = latest
	}
	msg := nats.NewMsg(l.subjects.Put(l.subjects.Pending(rec.Kind, string(pool), rec.token())))
	msg.Data = data
	bus.ScheduleAt(msg, fireAt, l.subjects.Put(l.subjects.Due(rec.Kind, string(pool), rec.token())))
	return msg, nil
}

// put publishes within the caller's deadline, or publishTimeout where there is none.
func (l *ledger) put(ctx context.Context, msg *nats.Msg) (seq uint64, stored bool, err error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, publishTimeout)
		defer cancel()
	}
	ack, err := l.shelf().publish(ctx, msg)
	return ack.Seq, ack.Stored, err
}
