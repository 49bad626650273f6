package dispatch

import (
	"slices"
	"time"

	"github.com/klingbridge/klingbridge/bridge/clock"
	"github.com/klingbridge/klingbridge/bridge/request"
)

// ceiling counts what is taken under one limit that Kling has and does not tell: of a pool, or of one model in it.
type ceiling struct {
	reserved, held int // by create calls under way, and by tasks
	foreign        int // the part of reserved that is other replicas'
	unsure         int // the part of held whose tasks may not exist
	hearsay        int // the part of held that only other replicas speak of

	limit     int // learned from refusals; unknownLimit until the first
	grown     int // tasks begun since the limit was unknown: so much surer is it that there is room
	since     int // tasks begun since a try was refused
	probeAt   time.Time
	probeWait time.Duration
	probed    time.Time // by this replica, last
	trust     trust     // in what other replicas say that they reserve
}

func newCeiling() ceiling {
	return ceiling{limit: UnknownLimit, probeWait: firstProbeWait, trust: trust{most: maxTrust}}
}

// window is how many creates may be unanswered at a time while the limit is unknown. All of them may be refused.
func (c *ceiling) window() int { return min(1+c.grown/windowStep, maxWindow) }

// grow follows a task that Kling took.
func (c *ceiling) grow() {
	c.grown++
	c.since++
}

// count adds n slots of a usage; less than zero: takes them away.
func (c *ceiling) count(u usage, n int) {
	if u.held {
		c.held += n
		if u.unsure {
			c.unsure += n
		}
		if u.hearsay {
			c.hearsay += n
		}
		return
	}
	c.reserved += n
	if u.foreign {
		c.foreign += n
	}
}

// learn takes over a limit that refusals tell.
func (c *ceiling) learn(limit int, now time.Time) {
	c.limit, c.probeWait = limit, firstProbeWait
	c.delay(now)
}

// due reports whether it is time to try a full ceiling with one more. After a try that was refused, tasks have to begin
// meanwhile, or maxProbeWait has to pass: where tasks are long, tries are not to be many for each. None can begin where
// nothing is held: what is in the way is tasks of other programs, or of requests that have expired.
func (c *ceiling) due(now time.Time) bool {
	busy := c.probeWait == firstProbeWait || c.since >= tryStep || c.held == 0
	return !now.Before(c.probeAt) && (busy || !now.Before(c.probed.Add(maxProbeWait)))
}

// again follows a refusal that tells nothing new. One that was asked for makes the next take longer.
func (c *ceiling) again(asked bool, now time.Time) {
	if asked {
		c.probeWait, c.since = min(2*c.probeWait, maxProbeWait), 0
	}
	c.delay(now)
}

// forget gives a limit up. What was begun under it says nothing of the room beyond.
func (c *ceiling) forget() {
	c.limit = UnknownLimit
	c.settle()
}

// settle keeps the window in proportion to what there has been room for.
func (c *ceiling) settle() { c.grown = min(c.grown, c.held) }

func (c *ceiling) delay(now time.Time) { c.probed, c.probeAt = now, now.Add(c.probeWait) }

// raise corrects a limit that turned out to be too low.
func (c *ceiling) raise() {
	if tasks := c.held - c.unsure; c.limit != UnknownLimit && tasks > c.limit {
		c.limit, c.probeWait = tasks, firstProbeWait
	}
}

// heard follows what another replica tells of a refusal: the limit need not be tried by everybody. It is never put off for
// long: only what this replica has tried itself is certain.
func (c *ceiling) heard(now time.Time) {
	if c.limit != UnknownLimit {
		c.probeAt = clock.Earlier(now.Add(c.probeWait), c.probed.Add(2*maxProbeWait))
	}
}

// fit is how a number of slots fits under a ceiling.
type fit int

const (
	fitsNow   fit = iota
	fitsSoon      // once calls are answered, or what is left to others is free
	fitsNever     // while as many are held
)

// fit tells how n slots fit beside what is held, reserved and left to others under a limit.
func (c *ceiling) fit(limit, n, reserved, resting int) fit {
	taken := reserved + c.held
	switch {
	case limit == UnknownLimit && reserved < c.window(), limit != UnknownLimit && taken+resting+n <= limit:
		return fitsNow
	case limit == UnknownLimit, taken+n <= limit:
		return fitsSoon
	default:
		return fitsNever
	}
}

// Kling's texts have its limits count by pool, or by model too. A refusal does not say which limit was met, so the pool's
// is kept together with the models that were refused under it: each of them may have been full by itself.
//
// While there is one such model both limits are in force, and the first call that only one of them forbids is made at
// once: it decides. A second model that is refused speaks for the pool's limit, and the models' own go out of force.

// ownLimit is the limit of a model that is in force, and whether it is more than a suspicion.
func (s *Slots) ownLimit(model string) (limit int, certain bool) {
	limit = s.model(model).limit
	own := s.suspicion(model)
	if own != UnknownLimit && len(s.refusals) == 1 && (limit == UnknownLimit || own < limit) {
		return own, false
	}
	return limit, true
}

// suspicion is the limit that a model has if the pool was not full when it was refused.
func (s *Slots) suspicion(model string) int {
	if own, known := s.refusals[model]; known {
		return own
	}
	return UnknownLimit
}

// learnRefusal learns from a refusal of n slots that stood under an entry u: so many more than are held is too many. What calls
// under way may have got meanwhile explains a refusal as well: of a limit that is known it says nothing new then.
func (s *Slots) learnRefusal(model string, n int, u usage, now time.Time) {
	m := s.model(model)
	all, own := s.held+n-1, m.held+n-1
	suspected := s.suspicion(model)
	m.refused = now
	m.settle()
	s.settle()
	switch {
	case m.limit != UnknownLimit && own+m.reserved >= m.limit:
		m.again(u.overOwn && !u.overPool, now)
		if u.overPool {
			s.again(true, now)
		}
	case s.limit != UnknownLimit && all+s.reserved >= s.limit:
		if _, known := s.refusals[model]; !known {
			suspected = own + m.reserved
		}
		if suspected != UnknownLimit {
			suspected = min(suspected, own+m.reserved)
		}
		s.refusals[model] = suspected
		s.again(u.overPool, now)
	case suspected != UnknownLimit && own+m.reserved >= suspected: // the pool had room: it has held more
		m.learn(suspected, now)
		s.acquit(model)
	default:
		s.learn(all, now)
		s.refusals = map[string]int{model: own}
	}
}

// acquit takes a model out of those that speak for the pool's limit, which stands only while there are any.
func (s *Slots) acquit(model string) {
	delete(s.refusals, model)
	if len(s.refusals) == 0 {
		s.forgetLimit()
	}
}

// forgetLimit gives the pool's limit up.
func (s *Slots) forgetLimit() {
	s.ceiling.forget()
	s.refusals = map[string]int{}
	for _, m := range s.models {
		m.settle()
	}
}

// learnTask learns from a task that was begun beyond a limit.
func (s *Slots) learnTask(u usage) {
	m := s.model(u.Model)
	_, bowed := s.refusals[u.Model]
	if limit, _ := s.ownLimit(u.Model); u.overOwn && limit != UnknownLimit && m.held > limit {
		m.forget()
		if bowed {
			s.refusals[u.Model] = UnknownLimit
		}
	}
	if !u.overPool || s.limit == UnknownLimit || s.held <= s.limit {
		return
	}
	for name, own := range s.refusals { // it was not the pool that was full
		if name != u.Model && own != UnknownLimit {
			other := s.model(name)
			other.learn(own, other.refused)
		}
	}
	s.forgetLimit()
	if bowed {
		s.grown = 0
	}
}

// tries reports whether a call is worth making that a limit forbids.
func (s *Slots) tries(model string, pool, own fit, others bool, now time.Time) bool {
	m := s.model(model)
	_, certain := s.ownLimit(model)
	_, bowed := s.refusals[model]
	open := !certain || m.due(now) // the model may have room
	switch {
	case pool == fitsSoon, own == fitsSoon:
		return false
	case pool == fitsNow:
		return open && m.calm(others)
	case !s.calm(others):
		return false
	case own != fitsNow:
		return open && s.triesFull(model, own, now)
	default: // a model that was never refused has nothing to do with the pool's limit, for all that is known
		return !bowed && len(s.refusals) > 0 || s.triesFull(model, own, now)
	}
}

// triesFull reports whether it is this model's turn to try a full pool.
func (s *Slots) triesFull(model string, own fit, now time.Time) bool {
	return s.due(now) && !s.another(model, own, now)
}

// calm reports whether others' calls do not blur what is learned from one more.
func (c *ceiling) calm(others bool) bool {
	return c.reserved == 0 || !others && c.reserved == c.foreign
}

// another reports whether a full pool is better tried by another model: one that is not full by itself, and whose last
// refusal is longer ago.
func (s *Slots) another(model string, own fit, now time.Time) bool {
	for name, m := range s.models {
		if name != model && now.Sub(m.waits) < 2*recheck && (own != fitsNow || m.refused.Before(s.model(model).refused)) {
			return true
		}
	}
	return false
}

// modelSlots is the ceiling of one model in a pool.
type modelSlots struct {
	ceiling
	refused time.Time // last
	waits   time.Time // a request of it waited last, for nothing but the pool
}

// unknownModel stands for the model of a task that nothing more is known of. It counts for the pool only.
const unknownModel = "*"

// maxModels bounds the models that are remembered without a use.
const maxModels = 256

// model returns the ceiling of a model.
func (s *Slots) model(name string) *modelSlots {
	if m := s.models[name]; m != nil {
		return m
	}
	if len(s.models) >= maxModels {
		s.forgetModels()
	}
	m := &modelSlots{ceiling: newCeiling()}
	s.models[name] = m
	return m
}

// forgetModels makes room for others among the models.
func (s *Slots) forgetModels() {
	for name, m := range s.models {
		if _, known := s.refusals[name]; !known && m.reserved+m.held == 0 {
			delete(s.models, name)
			s.used.models.forget(name)
		}
	}
}

// resting is what was freed and is left to other replicas for a moment.
type resting []rest

// rest is a number of slots that another replica may take until then.
type rest struct {
	n     int
	model string
	until time.Time
}

// at sums up what is left to other replicas, in the pool and of a model.
func (r *resting) at(model string, now time.Time) (all, own int) {
	*r = slices.DeleteFunc(*r, func(r rest) bool { return !r.until.After(now) })
	for _, r := range *r {
		all += r.n
		if r.model == model {
			own += r.n
		}
	}
	return all, own
}

// take ends the rest of slots that another replica takes, of that model before others.
func (r *resting) take(of request.Need) {
	for n := of.N; n > 0 && len(*r) > 0; {
		i := max(slices.IndexFunc(*r, func(r rest) bool { return r.model == of.Model }), 0)
		n -= (*r)[i].n
		*r = slices.Delete(*r, i, i+1)
	}
}
