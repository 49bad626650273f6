package dispatch

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// TestRoomIsNoticed has a lane wait for room that is made by no request being settled and no task ending: nobody but the pool itself
// tells of it.
func TestRoomIsNoticed(t *testing.T) {
	for name, c := range map[string]struct {
		limit, requests int
		came            Result // of the requests in hand
	}{
		"a model is full":          {UnknownLimit, maxWindow, NoCapacity()},
		"the requests are put off": {1, 2, TryAgain(5 * time.Minute)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := testPool(func(*Job) Result {
					time.Sleep(100 * time.Millisecond)
					return c.came
				})
				p.all[0].Slots.limit = c.limit
				lane := Lane{Pool: kling.PoolVideo, Generation: kling.V1, priority: events.PriorityNormal}
				for i := range c.requests {
					j := testJob(t, fmt.Sprint("request-", i), "text2video", events.PriorityNormal)
					j.Msg = inStream{back: func() {}}
					p.add(j)
				}
				stop, stopped := make(chan struct{}), make(chan struct{})
				go func() {
					defer close(stopped)
					p.Dispatch(stop)
				}()
				synctest.Wait() // the first is being sent
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				room := make(chan int, 1)
				go func() {
					n, _ := p.waitForRoom(ctx, lane)
					room <- n
				}()
				if n, took := <-room, time.Since(began); n <= 0 || took > recheck/2 {
					t.Errorf("room for %d after %s", n, took)
				}
				close(stop)
				<-stopped
			})
		})
	}
}
