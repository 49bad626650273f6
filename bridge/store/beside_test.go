package store

import (
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// TestTaskIsToldBesideItsRecord sends the record of a task and its announcement beside each other, before and after its end: what
// came of each is what it would be one after the other.
func TestTaskIsToldBesideItsRecord(t *testing.T) {
	t.Parallel()
	for name, ended := range map[string]bool{"of a task that goes on": false, "of a task that has ended": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newLedger(t, bustest.Start(t).URL(), 1)
			var told []events.Status
			s.Stored = func(_ *Record, status events.Status) { told = append(told, status) }
			ctx, rec := t.Context(), newTestRecord("order-1")
			fire := time.Now().Add(time.Hour)
			if _, first, err := s.Intend(ctx, rec, fire); !first || err != nil {
				t.Fatalf("intend: %v, %v", first, err)
			}
			rec = rec.Submitted("871000000000000101", time.Now(), fire)
			task := kling.Task{ID: rec.TaskID, Status: kling.StatusSucceed}
			if ended {
				if n, err := s.Observe(ctx, rec, task, events.SourceCallback); n != EffectEnd || err != nil {
					t.Fatalf("end: %v, %v", n, err)
				}
			}
			armed, announced := s.StartArm(ctx, rec, fire), s.StartAnnounce(ctx, rec, &task)
			if stored, err := armed(ctx); stored == ended || err != nil {
				t.Errorf("the record is stored: %v, %v", stored, err)
			}
			if err := announced(ctx); err != nil {
				t.Errorf("the announcement: %v", err)
			}
			want := events.StatusSubmitted
			if ended {
				want = events.StatusSucceed
			}
			if len(told) != 1 || told[0] != want {
				t.Errorf("told %v, want %s", told, want)
			}
			last, err := s.Guarded().Last(ctx, s.Subjects.EventsOf(rec.Token()))
			if err != nil {
				t.Fatal(err)
			}
			if parsed, _ := s.Subjects.Parse(last.Subject); parsed.Status != want {
				t.Errorf("the last event is on %s", last.Subject)
			}
		})
	}
}
