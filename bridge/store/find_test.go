package store

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/events"
)

// readers sees what is read from the stream of events by subject.
type readers struct {
	*Store
	asked chan *nats.Msg
}

func newReaders(t *testing.T) readers {
	t.Helper()
	srv := bustest.Start(t)
	l, nc := newLedger(t, srv.URL(), 1), srv.Connect()
	r := readers{l, make(chan *nats.Msg, 100)}
	for _, api := range []string{"$JS.API.STREAM.MSG.GET.", "$JS.API.DIRECT.GET."} {
		if _, err := nc.ChanSubscribe(api+l.Subjects.EventsStream(), r.asked); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return r
}

// since returns the subjects that were asked for since the last time, with a mark before those that any server was asked for.
func (r readers) since(t *testing.T) (subjects []string) {
	t.Helper()
	const mark = "mark"
	_, _ = r.Bus.Last(t.Context(), r.Subjects.EventsStream(), mark) // there is none
	for {
		var msg *nats.Msg
		select {
		case msg = <-r.asked:
		case <-time.After(time.Minute):
			t.Fatal("waited in vain for what was read")
		}
		var asked struct {
			Subject string `json:"last_by_subj"`
		}
		if err := json.Unmarshal(msg.Data, &asked); err != nil {
			t.Fatal(err)
		}
		if asked.Subject == mark {
			return subjects
		}
		if strings.Contains(msg.Subject, ".DIRECT.") {
			asked.Subject = "~" + asked.Subject
		}
		subjects = append(subjects, asked.Subject)
	}
}

// TestFind looks for records in every place where one may be, and counts what that reads.
func TestFind(t *testing.T) {
	t.Parallel()
	r := newReaders(t)
	const exact, ended, filter = "~kling-state.pending.text2video.video.ID", "kling.completion.*.*.ID", "kling-state.*.*.*.ID"
	due := func(t *testing.T, rec *Record) {
		if err := r.DueNow(t.Context(), rec); err != nil {
			t.Fatal(err)
		}
	}
	creating := func(t *testing.T, rec *Record) {
		rec.State, rec.TaskID = StateCreating, ""
		if _, first, err := r.Intend(t.Context(), rec, time.Now().Add(time.Hour)); !first || err != nil {
			t.Fatal(first, err)
		}
	}
	rebuilt := func(t *testing.T, rec *Record) {
		rec.TaskID = ""
		if stored, err := r.Arm(t.Context(), rec, time.Now().Add(time.Hour)); !stored || err != nil {
			t.Fatal(stored, err)
		}
	}
	pending := func(t *testing.T, rec *Record) {
		if stored, err := r.Arm(t.Context(), rec, time.Now().Add(time.Hour)); !stored || err != nil {
			t.Fatal(stored, err)
		}
	}
	complete := func(t *testing.T, rec *Record) {
		if first, err := r.Complete(t.Context(), rec, Expired()); !first || err != nil {
			t.Fatal(first, err)
		}
	}
	for name, c := range map[string]struct {
		stored  []func(*testing.T, *Record)
		kind    string // of the URL; empty: the record's
		state   state
		endedAs events.Status
		reads   []string
	}{
		"timer":                  {stored: of(pending), state: StateSubmitted, reads: of(exact)},
		"rebuilt, without an id": {stored: of(rebuilt), state: StateSubmitted, reads: of(exact, ended, filter)},
		"before its task":        {stored: of(creating), state: StateCreating, reads: of(exact, ended, filter)},
		"timer beside due":       {stored: of(pending, due), state: StateSubmitted, reads: of(exact)},
		"fired timer":            {stored: of(due), state: StateSubmitted, reads: of(exact, ended, filter)},
		"put back":               {stored: of(due, pending), state: StateSubmitted, reads: of(exact)},
		"end":                    {stored: of(pending, complete), state: StateSubmitted, endedAs: events.StatusExpired, reads: of(exact, ended)},
		"end beside due":         {stored: of(pending, due, complete), state: StateSubmitted, endedAs: events.StatusExpired, reads: of(exact, ended)},
		"nothing":                {reads: of(exact, ended, filter, ended, "kling.progress.*.*.ID")},
		"URL of another kind":    {stored: of(pending), kind: "effects", state: StateSubmitted, reads: of("~kling-state.pending.effects.video.ID", ended, filter)},
		"URL of an unknown kind": {stored: of(pending), kind: "no-more", state: StateSubmitted, reads: of(ended, filter)},
	} {
		t.Run(name, func(t *testing.T) {
			rec := newTestRecord(strings.ReplaceAll(name, " ", "-"))
			rec.Version = versionOf("", 0)
			for _, store := range c.stored {
				store(t, rec)
			}
			r.since(t)
			got, err := r.Find(t.Context(), cmp.Or(c.kind, rec.Kind), rec.Token())
			if err != nil {
				t.Fatal(err)
			}
			if got.RequestID != rec.RequestID || got.Kind != rec.Kind || got.State != c.state || got.EndedAs != c.endedAs {
				t.Errorf("got %+v", got)
			}
			for i := range c.reads {
				c.reads[i] = strings.ReplaceAll(c.reads[i], "ID", rec.Token())
			}
			if reads := r.since(t); !slices.Equal(reads, c.reads) {
				t.Errorf("read %q, want %q", reads, c.reads)
			}
		})
	}
}

func of[T any](all ...T) []T { return all }

// TestFindAcrossPools has a kind moved to another pool while its tasks run.
func TestFindAcrossPools(t *testing.T) {
	t.Parallel()
	before := newLedger(t, bustest.Start(t).URL(), 1)
	ctx, later := t.Context(), time.Now().Add(time.Hour)
	after := *before
	var err error
	if after.Kinds, err = before.Kinds.With("text2video=/v1/videos/text2video:image"); err != nil {
		t.Fatal(err)
	}
	rec := newTestRecord("moved")
	rec.Version = versionOf("", 0)
	if _, err := before.Arm(ctx, rec, later); err != nil {
		t.Fatal(err)
	}
	if got, err := after.Find(ctx, rec.Kind, rec.Token()); err != nil || got.TaskID != rec.TaskID {
		t.Errorf("got %+v, %v", got, err)
	}

	// The next try of a request is stored by a replica of the new table, and its callback comes to one of the old.
	rec = newTestRecord("again")
	rec.Retries = 1
	if _, err := before.Arm(ctx, rec, later); err != nil {
		t.Fatal(err)
	}
	e, err := before.Load(ctx, rec.Token())
	if err != nil {
		t.Fatal(err)
	}
	next, at := after.nextTry(rec, failedTask(rec), events.SourcePoll)
	if stored, err := after.Rearm(ctx, next, at, e.Seq); !stored || err != nil {
		t.Fatal(stored, err)
	}
	if got, err := before.Find(ctx, rec.Kind, rec.Token()); err != nil || got.Try() != 2 {
		t.Errorf("got %+v, %v", got, err)
	}
}
