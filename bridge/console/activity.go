package console

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

const (
	activityMinutes = 60
	newestEvents    = 50
	// maxNames bounds the kinds and tenants that are told apart in a minute and in a view; the rest are otherName.
	maxNames  = 50
	otherName = "other"
	noTenant  = "(none)"
	// tenantHeader is the metadata that units are summed up by.
	tenantHeader = events.HeaderMetaPrefix + "Tenant"
	maxShown     = 256 // bytes of an id or name in a list
)

// activity is what happened in the last hour. Its memory is bounded whatever the traffic. It is for one goroutine.
type activity struct {
	bus      *bus.Bus
	subjects subjects.Subjects

	began   bool   // last is where to go on
	last    uint64 // sequence of the last event read
	ready   bool   // the whole hour has been read
	minutes map[int64]*minute
	newest  []eventView // oldest first
}

// minute is what was completed in one minute.
type minute struct {
	succeed, other         int
	callback, poll, bridge int // by whom it was learned
	times                  histogram
	kinds, tenants         units
}

func newActivity(b *bus.Bus, s subjects.Subjects) *activity {
	return &activity{bus: b, subjects: s, minutes: map[int64]*minute{}}
}

// scanBatch is how many events are asked for at a time when few are expected.
const scanBatch = 256

// read takes in what was stored since the last time. The first time that is the last hour, which may take several calls.
func (a *activity) read(ctx context.Context, now time.Time) error {
	a.forgetBefore(now)
	stream := a.subjects.EventsStream()
	if a.ready {
		return a.bus.Scan(ctx, stream, a.subjects.Public(), a.last+1, scanBatch, func(m *bus.Message) bool {
			a.add(m, now)
			return ctx.Err() == nil
		})
	}
	state, err := a.bus.State(ctx, stream)
	if err != nil {
		return err
	}
	selection := bus.Selection{Subjects: []string{a.subjects.Public()}, Since: now.Add(-activityMinutes * time.Minute)}
	if a.began {
		selection = bus.Selection{Subjects: selection.Subjects, From: a.last + 1}
	}
	err = a.bus.ReadThrough(ctx, stream, selection, func(m *bus.Message) { a.add(m, now) })
	if errors.Is(err, context.DeadlineExceeded) {
		return nil // it goes on the next time
	}
	if err == nil {
		a.ready, a.began, a.last = true, true, max(a.last, state.LastSeq)
	}
	return err
}

// oldest is the first minute of the last hour.
func oldest(now time.Time) int64 { return now.Unix()/60 - activityMinutes + 1 }

func (a *activity) forgetBefore(now time.Time) {
	for at := range a.minutes {
		if at < oldest(now) {
			delete(a.minutes, at)
		}
	}
}

func (a *activity) add(m *bus.Message, now time.Time) {
	a.began, a.last = true, m.Seq
	parsed, ok := a.subjects.Parse(m.Subject)
	if !ok {
		return
	}
	a.newest = append(a.newest, describe(m, parsed.Parsed))
	if len(a.newest) >= 2*newestEvents {
		a.newest = slices.Clone(a.newest[len(a.newest)-newestEvents:])
	}
	at := m.Time.Unix() / 60
	if parsed.Type != events.TypeCompletion || at < oldest(now) {
		return
	}
	slot := a.minutes[at]
	if slot == nil {
		slot = &minute{kinds: units{}, tenants: units{}}
		a.minutes[at] = slot
	}
	a.newest[len(a.newest)-1].Units = slot.add(m, parsed.Parsed)
}

// add counts a completion, and returns the units that it tells.
func (s *minute) add(m *bus.Message, p events.Parsed) (told string) {
	if p.Status == events.StatusSucceed {
		s.succeed++
	} else {
		s.other++
	}
	switch events.Source(m.Header.Get(events.HeaderSource)) {
	case events.SourceCallback:
		s.callback++
	case events.SourcePoll:
		s.poll++
	default:
		s.bridge++
	}
	var body struct {
		RequestedAt events.Time `json:"requested_at"`
		CompletedAt events.Time `json:"completed_at"`
		Units       string      `json:"units"`
	}
	if err := json.Unmarshal(m.Data, &body); err != nil {
		return "" // not one of ours; it was counted
	}
	if p.Status == events.StatusSucceed || p.Status == events.StatusFailed {
		s.times.add(body.CompletedAt.Sub(body.RequestedAt.Time))
	}
	spent, err := strconv.ParseFloat(body.Units, 64)
	if err != nil || spent <= 0 {
		return body.Units
	}
	tenant := clip(m.Header.Get(tenantHeader))
	if tenant == "" {
		tenant = noTenant
	}
	s.kinds.add(p.Kind, spent)
	s.tenants.add(tenant, spent)
	return body.Units
}

// eventView is one line of the newest events.
type eventView struct {
	Seq       uint64        `json:"seq"`
	At        events.Time   `json:"at"`
	Type      string        `json:"type"`
	Kind      string        `json:"kind"`
	Status    events.Status `json:"status"`
	Source    string        `json:"source"`
	RequestID string        `json:"request_id"`
	Tenant    string        `json:"tenant"`
	Account   string        `json:"account,omitempty"`
	Units     string        `json:"units,omitempty"` // of a completion
}

func describe(m *bus.Message, p events.Parsed) eventView {
	id := m.Header.Get(events.HeaderRequestID)
	if id == "" {
		id = p.Token
	}
	return eventView{
		Seq: m.Seq, At: events.At(m.Time), Type: string(p.Type), Kind: p.Kind, Status: p.Status,
		Source: m.Header.Get(events.HeaderSource), RequestID: id, Tenant: clip(m.Header.Get(tenantHeader)),
		Account: m.Header.Get(events.HeaderAccount),
	}
}

// clip bounds what a list shows of a text.
func clip(s string) string {
	if len(s) <= maxShown {
		return s
	}
	n := maxShown
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
