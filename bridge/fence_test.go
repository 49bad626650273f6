package bridge

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestFenceOfAReplicaThatStoodStill lets time pass between the looks of a send: recorded, a replica that was stopped for 165 s
// between its claim and its send paid a second time when it woke up.
func TestFenceOfAReplicaThatStoodStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &creator{lookupWindow: 2 * time.Minute}
		for _, test := range []struct {
			gaps []time.Duration
			ends bool
		}{
			{[]time.Duration{0, 0}, false},
			{[]time.Duration{59 * time.Second, 59 * time.Second, 59 * time.Second}, false}, // a long upload
			{[]time.Duration{165 * time.Second}, true},
			{[]time.Duration{0, 0, 61 * time.Second}, true},
		} {
			fence := c.fence(&job{claimedAt: time.Now()})
			var err error
			for _, gap := range test.gaps {
				timer := time.NewTimer(gap)
				<-timer.C
				err = fence()
			}
			if (err != nil) != test.ends {
				t.Errorf("after %v: %v", test.gaps, err)
			}
		}
		busy := (&creator{lookupWindow: time.Second}).fence(&job{claimedAt: time.Now().Add(-2 * time.Second)})
		if err := busy(); err != nil {
			t.Errorf("a busy machine: %v", err)
		}
	})
}
