package dispatch

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/store"
)

// beginRecount marks the start of a recount: events are at most once, so what is in flight is now and then read from
// the stream. What ends while the stream is being read must not come back.
func (s *Slots) beginRecount() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removed = map[string]bool{}
}

// endRecount takes over what the stream says is in flight, by token. Reservations of this replica and what was added
// since began stay.
func (s *Slots) endRecount(stored map[string]request.Need, began time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropStale(stored, began)
	for token, of := range stored {
		u, known := s.used[token]
		switch {
		case !known && !s.removed[token]: // the token is a part of its subject, which is not to be kept
			s.put(strings.Clone(token), usage{Need: of, held: true, at: began})
		case known && u.Model == unknownModel:
			u.Need = of
			s.put(token, u)
		}
	}
	s.removed = nil
}

// dropStale lets go of what is not stored and was not taken since the recount began; the caller holds the mutex.
func (s *Slots) dropStale(stored map[string]request.Need, began time.Time) {
	for token, u := range s.used {
		_, ok := stored[token]
		stale := u.foreign && u.at.Before(began.Add(-foreignLife))
		switch {
		case !ok && (stale || u.held && u.at.Before(began)):
			s.remove(token)
		case ok && stale && !u.held: // whoever reserved it may be gone: it must not hold up probes
			u.held = true
			s.put(token, u)
		}
	}
}

// abortRecount ends a recount that could not read the stream.
func (s *Slots) abortRecount() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removed = nil
}

// stored is what a recount has found of a pool: what each request takes, by token, and of which account.
type stored map[string]seat

type seat struct {
	account string // empty: not known
	of      request.Need
	subject string // of its record; empty: it has several
}

// Recount reads from the stream what is in flight.
func (f *InFlight) Recount(ctx context.Context) error {
	began := time.Now()
	found := map[kling.Pool]stored{}
	for name, p := range f.Pools {
		found[name] = stored{}
		for _, share := range p.met() {
			share.Slots.beginRecount()
		}
	}
	count := func(subject string) {
		parsed, ok := f.Subjects.Parse(subject)
		if !ok {
			return
		}
		if tokens := found[kling.Pool(parsed.Pool)]; tokens != nil {
			if _, again := tokens[parsed.Token]; again {
				subject = ""
			}
			tokens[parsed.Token] = seat{of: request.Need{N: 1, Model: unknownModel}, subject: subject}
		}
	}
	// In one step: between two a record whose timer fires, or is set anew, could escape both.
	if err := f.Bus.Subjects(ctx, f.Subjects.EventsStream(), f.Subjects.Records("*"), count); err != nil {
		for _, p := range f.Pools {
			for _, share := range p.met() {
				share.Slots.abortRecount()
			}
		}
		return err
	}
	for name, p := range f.Pools {
		f.weigh(ctx, p, found[name], name == kling.PoolImage || len(p.all) > 1)
		p.endRecount(found[name], began)
		p.Freed()
	}
	return nil
}

// endRecount takes over what the stream says is in flight, account by account. What is not known to be of another one is of the
// first.
func (p *Pool) endRecount(found stored, began time.Time) {
	byAccount := map[*Share]map[string]request.Need{}
	for token, is := range found {
		share := p.all[0]
		if is.account != "" {
			share = p.meet(is.account)
		}
		if byAccount[share] == nil {
			byAccount[share] = map[string]request.Need{}
		}
		byAccount[share][token] = is.of
	}
	for _, share := range p.met() {
		share.Slots.endRecount(byAccount[share], began)
	}
}

// maxWeighed is how many records of a pool one recount reads to know their models, and whether their tasks wait to be made again.
// The others count for the pool alone, and as they did, until the next recount.
const maxWeighed = 1000

// weigh looks up what the tasks take that this replica has not seen begin, and of which account. every: all are looked up, as
// they may take more than one slot, or be of several accounts. It also looks whether tasks that it has seen begin were failed by
// Kling and wait to be made again: the event that tells so may have been missed, and what is in the stream is a record as before.
func (f *InFlight) weigh(ctx context.Context, p *Pool, found stored, every bool) {
	read := 0
	for token, is := range found {
		share, of := p.seated(token)
		if share != nil {
			found[token] = seat{share.Account, of, is.subject}
		}
		known := share != nil && of.Model != unknownModel
		if known && !share.Slots.mayWait(token) || read >= maxWeighed && (known || !every) {
			continue
		}
		read++
		e, err := f.record(ctx, token, is.subject)
		if err != nil {
			continue
		}
		if share != nil && e.Rec.Retries == 0 {
			share.Slots.noteFinal(token)
		}
		f.weighOne(found, token, e.Rec)
	}
}

// record reads the newest record of a request, of which one was met on the subject.
func (f *InFlight) record(ctx context.Context, token, subject string) (store.Entry, error) {
	if subject != "" {
		e, err := f.Store.LoadOn(ctx, subject)
		if !errors.Is(err, bus.ErrNoMessage) {
			return e, err
		}
	}
	return f.Store.Load(ctx, token) // also one whose timer has fired meanwhile
}

// weighOne notes what the task of a record takes, unless that is known. One that waits to be made again takes nothing.
func (f *InFlight) weighOne(found stored, token string, rec *store.Record) {
	if rec.State == store.StateRetrying {
		delete(found, token)
		return
	}
	if kind, ok := f.Kinds.Lookup(rec.Kind); ok && found[token].of.Model == unknownModel {
		of := request.Need{N: max(rec.Slots, 1), Model: request.ModelKey(kind, rec.Model)}
		found[token] = seat{account: rec.Account, of: of}
	}
}

// mayWait reports whether the task of a request that holds slots may be one that Kling has failed and that is to be made again.
// Of a call under way the record may say so too, of the try before.
func (s *Slots) mayWait(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.used[token]
	return u.held && !u.final
}

// noteFinal notes that the task of a request is never made again: a recount need not look at its record any more.
func (s *Slots) noteFinal(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u, known := s.used[token]; known {
		u.final = true
		s.used[token] = u
	}
}
