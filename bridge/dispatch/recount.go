package dispatch

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/store"
)

// recount compares what a pool takes to be in flight with the records in the stream, as these are read: there may be a hundred
// thousand of them.
type recount struct {
	*Pool
	began time.Time
	every bool // the record of each task is read that this replica knows nothing of
	// doubtful has the requests whose records are to be read, by token: the subject of its record, or none if it has several.
	doubtful map[string]string
}

// maxWeighed is how many records of a pool one recount reads to know their models, and whether their tasks wait to be made again.
// The others count for the pool alone, and as they did, until the next recount.
const maxWeighed = 1000

// Recount reads from the stream what is in flight.
func (f *InFlight) Recount(ctx context.Context) error {
	counts := map[kling.Pool]*recount{}
	for name, p := range f.Pools {
		counts[name] = p.beginRecount(time.Now())
	}
	count := func(subject string) {
		parsed, ok := f.Subjects.Parse(subject)
		if c := counts[kling.Pool(parsed.Pool)]; ok && c != nil {
			c.meet(parsed.Token, subject)
		}
	}
	// In one step: between two a record whose timer fires, or is set anew, could escape both.
	if err := f.Bus.Subjects(ctx, f.Subjects.EventsStream(), f.Subjects.Records("*"), count); err != nil {
		for _, c := range counts {
			c.abort()
		}
		return err
	}
	for _, c := range counts {
		f.weigh(ctx, c)
		c.end()
		c.Freed()
	}
	return nil
}

// beginRecount marks the start of a recount: what ends while the stream is being read must not come back.
func (p *Pool) beginRecount(now time.Time) *recount {
	for _, share := range p.met() {
		share.Slots.beginRecount()
	}
	// They may take more than one slot, or be of several accounts.
	every := p.pool == kling.PoolImage || len(p.all) > 1
	return &recount{Pool: p, began: now, every: every, doubtful: map[string]string{}}
}

// meet notes that there is a record of a request on a subject, of which nothing is kept.
func (c *recount) meet(token, subject string) {
	if _, again := c.doubtful[token]; again {
		c.doubtful[token] = ""
		return
	}
	share, u := c.see(token)
	known := share != nil && u.Model != unknownModel
	switch {
	case known && (!u.held || u.final):
	case len(c.doubtful) < maxWeighed || c.every && !known:
		c.doubtful[strings.Clone(token)] = strings.Clone(subject)
	case share == nil:
		c.find("", token, request.Need{N: 1, Model: unknownModel})
	}
}

// see notes in the share in which a request takes slots that there is a record of it; nil: it is in none that is known.
func (s *shares) see(token string) (*Share, usage) {
	for _, share := range s.met() {
		if u, known := share.Slots.see(token); known {
			return share, u
		}
	}
	return nil, usage{}
}

// find takes over a task of an account. What is not known to be of another one is of the first.
func (c *recount) find(account, token string, of request.Need) {
	share := c.Pool.meet(cmp.Or(account, c.all[0].Account))
	for _, other := range c.met() {
		if other != share {
			other.Slots.displace(token)
		}
	}
	if share != nil {
		share.Slots.found(token, of, c.began)
	}
}

// weighers is how many records are read at a time.
const weighers = 16

// weigh looks up what the tasks take that this replica has not seen begin, and of which account. It also looks whether tasks that
// it has seen begin were failed by Kling and wait to be made again: the news that tell so may have been missed, and what is in
// the stream is a record as before.
func (f *InFlight) weigh(ctx context.Context, c *recount) {
	tokens := make(chan string)
	var all sync.WaitGroup
	for range min(weighers, len(c.doubtful)) {
		all.Go(func() {
			for token := range tokens {
				f.weighOne(ctx, c, token)
			}
		})
	}
	for token := range c.doubtful {
		tokens <- token
	}
	close(tokens)
	all.Wait()
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

// weighOne notes what a task takes, unless that is known. One that waits to be made again takes nothing.
func (f *InFlight) weighOne(ctx context.Context, c *recount, token string) {
	share, u := c.see(token)
	e, err := f.record(ctx, token, c.doubtful[token])
	unknown := request.Need{N: 1, Model: unknownModel}
	if err != nil {
		if share == nil {
			c.find("", token, unknown)
		}
		return
	}
	if share != nil && e.Rec.Retries == 0 {
		share.Slots.noteFinal(token)
	}
	kind, ok := f.Kinds.Lookup(e.Rec.Kind)
	switch {
	case e.Rec.State == store.StateRetrying:
		if share != nil {
			share.Slots.overlook(token)
		}
	case share != nil && u.Model != unknownModel:
	case ok:
		c.find(e.Rec.Account, token, needOf(kind, e.Rec))
	case share == nil:
		c.find("", token, unknown)
	}
}

func (c *recount) end() {
	for _, share := range c.met() {
		share.Slots.endRecount(c.began)
	}
}

// abort ends a recount that could not read the stream.
func (c *recount) abort() {
	for _, share := range c.met() {
		share.Slots.abortRecount()
	}
}

func (s *Slots) beginRecount() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removed = map[uint64]struct{}{}
}

// see notes that there is a record of a request, if it is known to take slots.
func (s *Slots) see(token string) (u usage, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, known = s.used.get(token)
	switch {
	case !known:
	case u.hearsay:
		u.seen, u.hearsay = true, false
		s.put(token, u)
		s.begun(u.Model)
	default:
		u.seen = true
		s.used.set(token, u)
	}
	return u, known
}

// found takes over a task that a recount has found and that this replica knows nothing of, or not the model. What has ended meanwhile
// does not come back.
func (s *Slots) found(token string, of request.Need, began time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, known := s.used.get(token)
	_, ended := s.removed[s.used.hash(token)]
	switch {
	case !known && ended:
		return
	case !known:
		u = usage{Need: of, held: true, at: began}
	case u.Model == unknownModel:
		u.Need = of
	}
	u.seen = true
	s.put(token, u)
}

// overlook takes back that there is a record of a task.
func (s *Slots) overlook(token string) { s.note(token, func(u *usage) { u.seen = false }) }

// noteFinal notes that the task of a request is never made again: a recount need not look at its record any more.
func (s *Slots) noteFinal(token string) { s.note(token, func(u *usage) { u.final = true }) }

func (s *Slots) note(token string, what func(*usage)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u, known := s.used.get(token); known {
		what(&u)
		s.used.set(token, u)
	}
}

// endRecount lets go of what has no record and was not taken since the recount began. Reservations of this replica stay.
func (s *Slots) endRecount(began time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for token, u := range s.used.reserved {
		stale := u.foreign && u.at.Before(began.Add(-foreignLife))
		switch {
		case stale && !u.seen:
			s.remove(token)
		case stale: // whoever reserved it may be gone: it must not hold up probes
			u.held = true
			s.put(token, u)
		}
	}
	for hash, packed := range s.used.tasks {
		if packed.flags&flagSeen == 0 && packed.at < began.UnixNano() {
			s.drop(hash)
		}
	}
	s.forgetRecount()
}

func (s *Slots) abortRecount() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetRecount()
}

// forgetRecount prepares the next recount; the caller holds the mutex.
func (s *Slots) forgetRecount() {
	s.removed = nil
	for token, u := range s.used.reserved {
		u.seen = false
		s.used.reserved[token] = u
	}
	for hash, packed := range s.used.tasks {
		packed.flags &^= flagSeen
		s.used.tasks[hash] = packed
	}
}
