package clocktest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/klingbridge/klingbridge/bridge/clock/clocktest"
)

func TestWithin(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		after, longest time.Duration // until it holds; and is waited for
		want           bool
		least, most    int // looks
	}{
		"at once":             {0, time.Second, true, 1, 1},
		"soon":                {30 * time.Millisecond, time.Minute, true, 3, 4},
		"late":                {20 * time.Second, time.Minute, true, 180, 240},
		"as time runs out":    {time.Second, time.Second, true, 10, 40},
		"when it is too late": {2 * time.Second, time.Second, false, 10, 40},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began, looks := time.Now(), 0
				got := clocktest.Within(c.longest, func() bool {
					looks++
					return time.Since(began) >= c.after
				})
				if got != c.want || looks < c.least || looks > c.most {
					t.Errorf("%t after %d looks and %s", got, looks, time.Since(began))
				}
				if over := time.Since(began) - min(c.after, c.longest); over < 0 || over > 100*time.Millisecond {
					t.Errorf("returned %s late", over)
				}
			})
		})
	}
}
