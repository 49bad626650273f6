//go:build !race

package dispatch

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klingbridge/klingbridge/events"
)

// TestReplicasShareAccounts has three replicas work off requests on three accounts. In the middle one account's key is revoked and
// restored, another runs out of credit and gets more, and a replica ends. All of it goes by a clock that stands still while
// anything can go on, so that the machine it runs on does not count.
func TestReplicasShareAccounts(t *testing.T) {
	const requests = 1000
	for name, c := range map[string]struct {
		call, lag, news time.Duration
		busy, refused   float64 // at least, and a request at most
	}{
		"as on one machine":          {10 * time.Millisecond, 10 * time.Millisecond, 2 * time.Millisecond, 0.94, 0.06},
		"everything takes very long": {200 * time.Millisecond, 100 * time.Millisecond, 60 * time.Millisecond, 0.5, 0.08},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(c.call, c.lag, c.news)
				main, burst, last := f.account("main", 8), f.account("burst", 4), f.account("last", 2)
				burst.credit = requests / 5
				f.start(t, 3, requests)
				f.await(func() bool { return f.ended >= requests/4 })
				f.change(func() { main.revoked = true })
				f.replicas[2].end()
				f.await(func() bool { return f.ended >= requests*6/10 })
				f.change(func() { main.revoked = false })
				f.await(func() bool { return f.ended >= requests*8/10 })
				f.change(func() { burst.credit = requests })
				f.await(func() bool { return f.ended >= requests })
				f.stop()
				for id, n := range f.tasks {
					if n != 1 {
						t.Errorf("%d tasks for %s", n, id)
					}
				}
				refused := 0
				for _, a := range []*fleetAccount{main, burst, last} {
					refused += a.full
					t.Logf("%s: %d tasks, slots %.3f busy while it took any, %d times full, %d times closed", a.name, a.made, a.use, a.full, a.closed)
					if a.use < c.busy {
						t.Errorf("slots of %s were %.3f busy, want at least %.2f", a.name, a.use, c.busy)
					}
				}
				share := float64(refused) / requests
				if t.Logf("%.3f refusals a request", share); share > c.refused {
					t.Errorf("%.3f refusals for want of capacity a request, want at most %.2f", share, c.refused)
				}
			})
		})
	}
}

// request is one that waits in the stream.
func (f *fleet) request(t *testing.T, i int) *Job {
	j := testJob(t, fmt.Sprint("r-", i), "text2video", events.PriorityNormal)
	j.Msg = inStream{back: func() { f.change(func() { f.queue = append(f.queue, j) }) }}
	return j
}
