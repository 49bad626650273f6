package klingtest

import (
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

// Kling's older text counts tasks by account and pack type, its newest by model version too (concurrency page, 2026-09).
// Nobody has measured which of them holds.

// usage is how busy slots are.
type usage struct {
	busy  int
	since time.Time     // of the last change of busy
	spent time.Duration // slots busy times how long, up to since
}

// place is what has slots of its own.
type place struct {
	pool  kling.Pool
	model string // empty: all of the pool, unless slots are counted by model
}

func (s *Server) placeOf(t *task) place {
	if !s.byModel() {
		return place{pool: t.Kind.Pool}
	}
	return place{t.Kind.Pool, t.Model}
}

func (s *Server) byModel() bool { return s.options.CapacityByModel || len(s.options.SlotsByModel) > 0 }

// hasRoom reports whether a task's slots are free. The caller holds mu.
func (s *Server) hasRoom(t *task) bool {
	p := s.placeOf(t)
	busy := 0
	if u := s.usage[p]; u != nil {
		busy = u.busy
	}
	return busy+t.Slots <= s.limitOf(p)
}

func (s *Server) limitOf(p place) int {
	if n, ok := s.options.SlotsByModel[p.model]; ok && s.byModel() {
		return n
	}
	if n, ok := s.options.Slots[p.pool]; ok {
		return n
	}
	return defaultSlots
}

// take makes slots of a task's place busy, or frees them: below zero. The caller holds mu.
func (s *Server) take(t *task, slots int, now time.Time) {
	p := s.placeOf(t)
	u := s.usage[p]
	if u == nil {
		u = &usage{since: now}
		s.usage[p] = u
	}
	u.spent, u.since = u.until(now), now
	u.busy += slots
}

func (u *usage) until(now time.Time) time.Duration {
	return u.spent + time.Duration(u.busy)*now.Sub(u.since)
}

// BusySlotTime returns for how long slots of the pool were busy, summed up over slots, and over models where each has its
// own: two slots for a minute make two minutes. Divided by slots and time it is the utilisation.
func (s *Server) BusySlotTime(pool kling.Pool) time.Duration {
	return s.busyTime(func(p place) bool { return p.pool == pool })
}

// BusySlotTimeOf returns the same of the tasks of one model, where slots are counted by model; else nothing.
func (s *Server) BusySlotTimeOf(pool kling.Pool, model string) time.Duration {
	return s.busyTime(func(p place) bool { return s.byModel() && p == place{pool, model} })
}

func (s *Server) busyTime(counts func(place) bool) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sum time.Duration
	for p, u := range s.usage {
		if counts(p) {
			sum += u.until(s.options.Now())
		}
	}
	return sum
}
