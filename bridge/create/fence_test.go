package create

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/store"
)

// TestFenceOfAReplicaThatStoodStill lets time pass between the looks of a send: recorded, a replica that was stopped for 165 s
// between its claim and its send paid a second time when it woke up. An upload that is as slow as that ends too, unless its
// body adds as much to the window.
func TestFenceOfAReplicaThatStoodStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Creator{LookupWindow: 2 * time.Minute}
		for _, test := range []struct {
			size int64 // of the body, in MiB
			gaps []time.Duration
			ends bool
		}{
			{0, []time.Duration{0, 0}, false},
			{50, []time.Duration{59 * time.Second, 59 * time.Second, 59 * time.Second}, false}, // a long upload
			{50, []time.Duration{55 * time.Second, 55 * time.Second, 55 * time.Second, 55 * time.Second, 55 * time.Second}, true},
			{0, []time.Duration{59 * time.Second, 2 * time.Second}, true},
			{0, []time.Duration{165 * time.Second}, true},
			{0, []time.Duration{0, 0, 61 * time.Second}, true},
			{50, []time.Duration{0, 0, 61 * time.Second}, true},
		} {
			fence := c.fence(&attempt{claimedAt: time.Now(), rec: &store.Record{Upload: kling.UploadTime(test.size << 20)}})
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
		busy := (&Creator{LookupWindow: time.Second}).fence(&attempt{claimedAt: time.Now().Add(-2 * time.Second), rec: &store.Record{}})
		if err := busy(); err != nil {
			t.Errorf("a busy machine: %v", err)
		}
	})
}

// TestLookupOfALargeBody waits longer for what another replica may be sending still, and no longer for what has been sent.
func TestLookupOfALargeBody(t *testing.T) {
	c := &Creator{LookupWindow: 2 * time.Minute}
	claimed := time.Now()
	j := &attempt{rec: &store.Record{Claim: "a", ClaimedAt: claimed, Upload: kling.UploadTime(50 << 20)}}
	if got, want := c.lookupEnd(j).Sub(claimed), 2*time.Minute+200*time.Second; got != want {
		t.Errorf("taken over: %s after its claim, want %s", got, want)
	}
	j.unknownAt = claimed.Add(time.Minute)
	if got, want := c.lookupEnd(j).Sub(claimed), 3*time.Minute; got != want {
		t.Errorf("sent: %s after its claim, want %s", got, want)
	}
}
