package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/events"
)

// Limits of an answer that is a list.
const (
	defaultPage = 100
	maxPage     = 1000
	// maxExamined bounds the requests that are looked at for one page, of which few may be what was asked for: such a
	// page is short, and its cursor leads on.
	maxExamined = 2000
	// pageRoom is kept of the largest message for what surrounds the entries of a page.
	pageRoom = 1 << 10
)

// place is where a page ends and the next one begins. Its encoding is the cursor that callers give back.
type place struct {
	Section section `json:"s"`
	Seq     uint64  `json:"n,omitempty"` // of the last message seen; zero: none
	Key     string  `json:"k,omitempty"` // of the last record seen; empty: none
}

func (p place) cursor() (string, error) {
	data, err := json.Marshal(p)
	return base64.RawURLEncoding.EncodeToString(data), err
}

// page gathers the entries of an answer.
type page[E any] struct {
	limit    int
	examined int
	at       place // of what was looked at last
	entries  []E
	places   []place // of each entry
}

// newPage returns an empty page of a list of these sections.
func newPage[E any](q events.PageQuery, first, last section) (*page[E], error) {
	p := &page[E]{limit: q.Limit, at: place{Section: first}}
	switch {
	case q.Limit == 0:
		p.limit = defaultPage
	case q.Limit < 0 || q.Limit > maxPage:
		return nil, refusef(http.StatusBadRequest, "limit: want 1 to %d, got %d", maxPage, q.Limit)
	}
	if q.Cursor == "" {
		return p, nil
	}
	data, err := base64.RawURLEncoding.DecodeString(q.Cursor)
	if err == nil {
		err = json.Unmarshal(data, &p.at)
	}
	if err != nil || p.at.Section < first || p.at.Section > last {
		return nil, refusef(http.StatusBadRequest, "cursor: want that of an earlier answer")
	}
	return p, nil
}

// wants is how many more entries the page takes: one over its limit tells that it is not the last.
func (p *page[E]) wants() int { return p.limit + 1 - len(p.entries) }

// full reports whether there is nothing more to look for.
func (p *page[E]) full() bool { return p.wants() <= 0 || p.examined >= maxExamined }

func (p *page[E]) add(e E, at place) {
	p.entries, p.places = append(p.entries, e), append(p.places, at)
}

// close returns the entries that fit into a message of this size, at least one of them, and the cursor of the next page.
// all says that there was nothing more to look at.
func (p *page[E]) close(all bool, maxPayload int64) (entries []E, cursor string, err error) {
	n, room := 0, maxPayload-pageRoom
	for _, e := range p.entries[:min(len(p.entries), p.limit)] {
		data, err := json.Marshal(e)
		if err != nil {
			return nil, "", err
		}
		if room -= int64(len(data)) + 1; room < 0 && n > 0 {
			break
		}
		n++
	}
	switch {
	case n < len(p.entries):
		cursor, err = p.places[n-1].cursor()
	case !all:
		cursor, err = p.at.cursor()
	}
	return append([]E{}, p.entries[:n]...), cursor, err
}

// minWindow is the least that is read at a time once it has shown that only some of it is wanted.
const minWindow = 100

// addNewest adds what a stream holds on a subject, newest first, until the page is full or the time since is reached. It
// reads windows of about as many messages as the page wants, each forwards, and keeps nothing of them but the entries.
// decode returns nil for a message that is not wanted.
func addNewest[E any](
	ctx context.Context, a *API, stream, subject string, since time.Time, p *page[E], decode func(*bus.Message) (*E, error),
) error {
	state, err := a.Bus.State(ctx, stream)
	if err != nil {
		return err
	}
	if p.at.Seq == 0 || p.at.Seq > state.LastSeq {
		p.at.Seq = state.LastSeq + 1
	}
	for size := p.wants(); !p.full() && p.at.Seq > 1; size = max(p.wants(), minWindow) {
		from, err := a.Bus.NewestFrom(ctx, stream, subject, p.at.Seq, size)
		if err != nil {
			return err
		}
		entries, places, from, err := readWindow(ctx, a, stream, subject, since, p, from, size, decode)
		if err != nil {
			return err
		}
		for i, e := range slices.Backward(entries) {
			if p.wants() > 0 {
				p.add(e, places[i])
			}
		}
		p.at.Seq = from
	}
	return nil
}

// readWindow reads size messages forwards and returns the entries among them, with their places. next is where the window
// before this one ends: the stream's beginning, where what comes before is older than since.
func readWindow[E any](
	ctx context.Context, a *API, stream, subject string, since time.Time, p *page[E], from uint64, size int,
	decode func(*bus.Message) (*E, error),
) (entries []E, places []place, next uint64, err error) {
	next = from
	err = a.Bus.Scan(ctx, stream, subject, from, size, func(m *bus.Message) bool {
		if m.Seq >= p.at.Seq {
			return false
		}
		p.examined++
		if m.Time.Before(since) {
			next = 1
			return true
		}
		e, err := decode(m)
		if err != nil {
			a.Log.ErrorContext(ctx, "not what belongs there", slog.String("subject", m.Subject), slog.Any("err", err))
		}
		if e != nil && err == nil {
			entries, places = append(entries, *e), append(places, place{Section: p.at.Section, Seq: m.Seq})
		}
		return true
	})
	return entries, places, next, err
}
