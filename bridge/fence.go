package bridge

import (
	"fmt"
	"sync"
	"time"
)

// leastGap is what a replica on a busy machine may take between two steps without having stood still.
const leastGap = 5 * time.Second

// fence keeps a create call from being finished by a replica that has stood still since it claimed the request: another
// one may have taken the request over. Whatever the reason (a stopped process, a machine that was moved or put to sleep,
// swapping) it shows as a gap between two looks at either clock: one stands still while a machine sleeps, the other may be
// set. A long upload is no gap, and neither is what a busy machine takes: below leastGap nothing is told from that.
func (c *creator) fence(j *job) func() error {
	var mu sync.Mutex // the calls come from the goroutines of the connection
	last, longest := j.claimedAt, max(c.lookupWindow/2, leastGap)
	return func() error {
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		gap := max(now.Sub(last), now.Round(0).Sub(last.Round(0)))
		last = now
		if gap > longest {
			return fmt.Errorf("this replica stood still for %s, more than %s", gap.Round(time.Millisecond), longest)
		}
		return nil
	}
}
