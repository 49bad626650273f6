package clock

import (
	"context"
	mathrand "math/rand/v2"
	"time"
)

const (
	firstBackoff = time.Second
	maxBackoff   = time.Minute
)

// Earlier returns the earlier of two times.
func Earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// Sleep waits for d and reports whether ctx has not ended it.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Backoff is the wait after the n-th try in a row: full jitter over 1 s, 2 s, 4 s … 60 s.
func Backoff(n int) time.Duration {
	most := maxBackoff
	if n < 7 {
		most = min(firstBackoff<<(n-1), maxBackoff)
	}
	return mathrand.N(most)
}
