package api

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/klingbridge/klingbridge/bridge/clock"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/events"
)

// cancelPause lets show what stood in the way of a cancellation.
const cancelPause = 20 * time.Millisecond

// Cancel ends a request that has not become a task, as cancelled. 400: no request id; 404: nothing is known of it; 409:
// its create call may be under way, its task exists, which Kling can't cancel, or it has ended.
//
// The completion is stored only if nothing at all is known of the request, and so is the intent that precedes a create
// call: whichever comes first, the other is refused.
func (a *API) Cancel(ctx context.Context, id string) (events.Cancelled, error) {
	yes := events.Cancelled{Cancelled: true}
	for tries := 0; ; tries++ {
		task, held, err := a.find(ctx, id)
		if err != nil {
			return events.Cancelled{}, err
		}
		if held == nil && tries > 0 && task.Status == events.StatusCancelled {
			return yes, nil // by the last try, whose ack was lost, or by another call beside this one
		}
		if held == nil && task.Status != events.StatusRetrying {
			return events.Cancelled{}, tooLate(task)
		}
		first, err := a.settleWaiting(ctx, task, held)
		if first {
			if err != nil {
				a.Log.WarnContext(ctx, "a cancelled request stays in the stream until it is delivered",
					slog.String("request_id", id), slog.Any("err", err))
			}
			return yes, nil
		}
		if err != nil {
			return events.Cancelled{}, err
		}
		// Something became known of it: a create call, which may even be over, because Kling had no room.
		if !clock.Sleep(ctx, cancelPause) {
			return events.Cancelled{}, context.Cause(ctx)
		}
	}
}

// settleWaiting cancels a request that waits, for its first task or for the next one.
func (a *API) settleWaiting(ctx context.Context, task events.Task, held *request.Waiting) (first bool, err error) {
	if held == nil {
		return a.Store.CancelRetry(ctx, events.Token(task.RequestID))
	}
	return a.Store.SettleWaiting(ctx, held, store.Cancelled())
}

func tooLate(t events.Task) error {
	switch {
	case t.Status.Terminal():
		return refusef(http.StatusConflict, "request %q has already ended: %s", t.RequestID, t.Status)
	case t.Status == events.StatusCreating:
		return refusef(http.StatusConflict, "request %q is being sent to Kling", t.RequestID)
	default:
		return refusef(http.StatusConflict, "request %q is a task at Kling, which has no cancel", t.RequestID)
	}
}
