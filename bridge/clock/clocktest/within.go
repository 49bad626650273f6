// Package clocktest waits in tests for what has no signal of its own.
package clocktest

import "time"

const (
	firstPause = 20 * time.Millisecond
	maxPause   = 100 * time.Millisecond
)

// Within reports whether something comes to hold in time. It looks often at first, and more and more rarely: under the race
// detector a look may cost more than what it waits for.
func Within(longest time.Duration, holds func() bool) bool {
	deadline := time.NewTimer(longest)
	defer deadline.Stop()
	for pause := firstPause; !holds(); pause = min(pause*5/4, maxPause) {
		timer := time.NewTimer(pause)
		select {
		case <-deadline.C:
			timer.Stop()
			return holds()
		case <-timer.C:
		}
	}
	return true
}
