package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
	"github.com/klingbridge/klingbridge/events"
)

// Find returns the record of a request, or one made of its completion, or of its progress where the record is lost, or of
// the little that its URL says: a callback needs no more than that to complete. kind is what the URL says.
//
// Most callbacks are about a task whose timer has not fired. Its record is read by its exact subject, from any server of the
// stream: a filter takes the server about 1 ms where many tasks are in flight, and the leader's API as long as storing a
// completion. Most of the others are repeats, whose request has ended.
func (s *Store) Find(ctx context.Context, kind, token string) (*Record, error) {
	rec, err := s.pendingRecord(ctx, kind, token)
	if rec != nil || err != nil {
		return rec, err
	}
	if rec, err = s.endedRecord(ctx, token); rec != nil || err != nil {
		return rec, err
	}
	e, err := s.Load(ctx, token)
	if err == nil || !errors.Is(err, bus.ErrNoMessage) {
		return e.Rec, err
	}
	if rec, err = s.endedRecord(ctx, token); rec != nil || err != nil { // it may have ended meanwhile
		return rec, err
	}
	return s.unheard(ctx, kind, token)
}

// pendingRecord returns the record of a request whose timer has not fired, if nothing else can say more than it does; nil:
// there is none.
//
// A timer that fires and a completion remove it, and whoever writes the record again replaces it. So what may be stored beside
// it, and later, are only:
//
//   - What PutDue has stored for the poller: a copy of a record.
//   - What a server that is behind does not have yet: later polls, and the end. All that is stored by such a record is guarded by
//     the leader, which knows the end.
//   - The record under another pool, where the kind has moved while replicas of both tables run. Only Arm and Replace store it
//     there, as Claim names the pool in its guard. All that they add to a record of which no task is made again are polls and
//     the id of the task.
//
// Where a task may be made again, a record under another pool may be that of a further try, and what a newer version stores is
// not known. Before the task has an id, the record may be of a send on another account by now. This returns no such records.
func (s *Store) pendingRecord(ctx context.Context, kind, token string) (*Record, error) {
	pool, err := s.pool(kind)
	if err != nil { // a kind that is no longer in the table
		return nil, nil
	}
	rec, err := s.loadDirect(ctx, s.Subjects.Pending(kind, string(pool), token))
	if err != nil || rec == nil || rec.TaskID == "" || rec.Retries > 0 || rec.Newer() {
		return nil, err
	}
	return rec, nil
}

// loadDirect returns the record on a subject as the nearest server knows it; nil: that knows none.
func (s *Store) loadDirect(ctx context.Context, subject string) (*Record, error) {
	m, err := s.Guarded().LastDirect(ctx, subject)
	if err != nil {
		return nil, ignoreGone(err)
	}
	rec, err := Decode(m.Data)
	if err != nil {
		return nil, fmt.Errorf("record on %s: %w", subject, err)
	}
	return rec, nil
}

// endedRecord returns what is left of the record of a request that has ended; nil: it has not.
func (s *Store) endedRecord(ctx context.Context, token string) (*Record, error) {
	m, ev, err := s.Completion(ctx, token)
	if err != nil {
		return nil, ignoreGone(err)
	}
	return EndedRecord(s.Telemetry, m, ev), nil
}

// unheard makes the record of a request that has neither a record nor an end.
func (s *Store) unheard(ctx context.Context, kind, token string) (*Record, error) {
	m, err := s.Guarded().Last(ctx, s.Subjects.Progress("*", "*", token))
	if errors.Is(err, bus.ErrNoMessage) {
		return &Record{Version: versionOf("", 0), RequestID: token, Kind: kind, State: StateUnheard, RequestedAt: s.Now()}, nil
	}
	if err != nil {
		return nil, err
	}
	var ev events.Event
	if err := json.Unmarshal(m.Data, &ev); err != nil {
		return nil, fmt.Errorf("progress on %s: %w", m.Subject, err)
	}
	return toldRecord(s.Telemetry, m, &ev), nil
}

// LostRecord is the record of a task that an account at Kling has and whose own is lost, with what its progress tells of its
// request.
func (s *Store) LostRecord(ctx context.Context, account, kind, token string, task kling.Task, deadline time.Time) (*Record, error) {
	rec := TaskRecord(account, token, kind, task, task.CreatedAt, deadline, time.Time{})
	told, err := s.unheard(ctx, kind, token)
	if err == nil && told.TaskID == task.ID {
		rec.RequestID, rec.RequestedAt = told.RequestID, told.RequestedAt
		rec.Metadata, rec.ReplayOf, rec.Trace, rec.Tries = told.Metadata, told.ReplayOf, told.Trace, told.Tries
	}
	return rec, err
}

// EndedRecord is what a completion still tells of the record that it ended.
func EndedRecord(t *telemetry.Tracer, m *bus.Message, ev *events.Event) *Record {
	rec := toldRecord(t, m, ev)
	rec.State, rec.EndedAs = StateSubmitted, ev.Status
	return rec
}

// toldRecord is what an event tells of the record of its request.
func toldRecord(t *telemetry.Tracer, m *bus.Message, ev *events.Event) *Record {
	account := ev.Account
	if account == "" && (ev.TaskID != "" || ev.ExternalTaskID != "") { // of before events named it
		account = kling.DefaultAccount
	}
	rec := &Record{
		Version:        versionOf(account, 0),
		Account:        account,
		RequestID:      ev.RequestID,
		Kind:           ev.Kind,
		State:          StateUnheard,
		ExternalTaskID: ev.ExternalTaskID,
		TaskID:         ev.TaskID,
		RequestedAt:    ev.RequestedAt.Time,
		Metadata:       ev.Metadata,
		ReplayOf:       ev.ReplayOf,
		Tries:          ev.Tries,
	}
	if ev.SubmittedAt != nil {
		rec.SubmittedAt = ev.SubmittedAt.Time
	}
	ctx := t.Extract(context.Background(), m.Header)
	if trace.SpanContextFromContext(ctx).IsValid() {
		rec.Trace = t.Carry(ctx)
	}
	return rec
}

// Entry is a record as it was found.
type Entry struct {
	Rec *Record
	Seq uint64
	Due bool // its timer has fired and the poller has it
}

// Load returns the newest record of a request, or bus.ErrNoMessage.
func (s *Store) Load(ctx context.Context, token string) (Entry, error) {
	return s.LoadOn(ctx, s.Subjects.StateOf(token))
}

// LoadOn returns the newest record on a subject or filter, or bus.ErrNoMessage. A filter takes the server much longer.
func (s *Store) LoadOn(ctx context.Context, filter string) (Entry, error) {
	m, err := s.Guarded().Last(ctx, filter)
	if err != nil {
		return Entry{}, err
	}
	rec, err := Decode(m.Data)
	if err != nil {
		return Entry{}, fmt.Errorf("record on %s: %w", m.Subject, err)
	}
	parsed, _ := s.Subjects.Parse(m.Subject)
	return Entry{Rec: rec, Seq: m.Seq, Due: parsed.Type == subjects.TypeDue}, nil
}

// Completion returns the stored completion of a request, or bus.ErrNoMessage.
func (s *Store) Completion(ctx context.Context, token string) (*bus.Message, *events.Event, error) {
	m, err := s.Guarded().Last(ctx, s.Subjects.CompletionOf(token))
	if err != nil {
		return nil, nil, err
	}
	var ev events.Event
	if err := json.Unmarshal(m.Data, &ev); err != nil {
		return nil, nil, fmt.Errorf("completion on %s: %w", m.Subject, err)
	}
	return m, &ev, nil
}
