package create

import (
	"fmt"
	"sync"
	"time"
)

// leastGap is what a replica on a busy machine may take between two steps without having stood still.
const leastGap = 5 * time.Second

// fence keeps a create call from being finished by a replica whose claim is no good any more: another one may have taken
// the request over, and sends it itself after the lookup window and what the body adds to it ([record.Upload]).
//
// A replica that has stood still (a stopped process, a machine that was moved or put to sleep, swapping) shows as a gap
// between two looks at either clock: one stands still while a machine sleeps, the other may be set. A long upload is no gap,
// but all of it has to fit into half the window and what the body adds, however large it is: the other half is for Kling.
// What a busy machine takes ends nothing: below leastGap nothing is told from that.
func (c *Creator) fence(j *attempt) func() error {
	var mu sync.Mutex // the calls come from the goroutines of the connection
	last, longest := j.claimedAt, max(c.LookupWindow/2, leastGap)
	most := longest + j.rec.Upload
	return func() error {
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		gap, age := between(last, now), between(j.claimedAt, now)
		last = now
		switch {
		case gap > longest:
			return fmt.Errorf("this replica stood still for %s, more than %s", gap.Round(time.Millisecond), longest)
		case age > most:
			return fmt.Errorf("the send takes longer than %s", most)
		default:
			return nil
		}
	}
}

// between is the time from one look to another, by the clock that shows more of it.
func between(from, to time.Time) time.Duration {
	return max(to.Sub(from), to.Round(0).Sub(from.Round(0)))
}
