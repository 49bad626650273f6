package events

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestFailuresAreBounded has another process handle what failed here.
func TestFailuresAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := failures{most: 2}
		for _, sequence := range []uint64{1, 2, 1, 3} { // 2 failed longest ago
			f.add(sequence)
			<-time.After(time.Second)
		}
		if n := f.add(1); n != 3 || len(f.of) != 2 {
			t.Errorf("failure %d of %v", n, f.of)
		}
		f.forget(1)
		if n := f.add(1); n != 1 {
			t.Errorf("failure %d of what was forgotten", n)
		}
	})
}
