package dispatch

import "time"

// trust bounds for how long others may hold something up by what they say: for so long at a time, and for half of the
// time on the whole. It is spent while they do and comes back while they do not.
type trust struct {
	most  time.Duration
	spent time.Duration
	held  bool      // the last answer
	at    time.Time // of the last question
}

// holds answers whether to hold up what others want held up. While something waits it has to be asked every recheck.
func (c *trust) holds(wanted bool, now time.Time) bool {
	passed := min(max(now.Sub(c.at), 0), 2*recheck) // nothing has waited for longer than that
	if c.held {
		c.spent = min(c.spent+passed, c.most)
	} else {
		c.spent = max(c.spent-passed, 0)
	}
	c.at, c.held = now, wanted && c.spent < c.most
	return c.held
}

// forgetForeign gives up what other replicas say that they have reserved or begun; the caller holds the mutex.
func (s *Slots) forgetForeign() {
	for token, u := range s.used.reserved {
		if u.foreign {
			s.remove(token)
		}
	}
	for hash, packed := range s.used.tasks {
		if packed.flags&flagHearsay != 0 {
			s.drop(hash)
		}
	}
}
