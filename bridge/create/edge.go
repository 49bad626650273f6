package create

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/klingbridge/klingbridge/bridge/clock"
	"github.com/klingbridge/klingbridge/bridge/dispatch"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// EdgeWatch finds out how much is affected when something before Kling answers in its place: a firewall, a gateway, a
// retired route. It asks for the account's costs, which no request has anything to do with. Kinds find out for
// themselves, by their own requests. Each account has its own.
type EdgeWatch struct {
	Client *kling.Client
	Pauses *dispatch.Pauses
}

const (
	// costsInterval is how often Kling lets the costs be asked for (its account page, 2026-09).
	costsInterval = time.Second
	costsTime     = 10 * time.Second
)

// Run asks whenever there is a suspicion, until ctx ends.
func (w *EdgeWatch) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.Pauses.Suspected:
		}
		w.check(ctx)
		if !clock.Sleep(ctx, max(w.Pauses.Interval, costsInterval)) {
			return
		}
	}
}

func (w *EdgeWatch) check(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, costsTime)
	defer cancel()
	asked := time.Now()
	err := w.Client.CheckCredentials(ctx)
	failure, failed := errors.AsType[*kling.Error](err)
	switch {
	case !failed || failure.Code != 0:
		w.Pauses.Reached(asked)
	case failure.Class == kling.ClassCapacity || errors.Is(ctx.Err(), context.Canceled):
	default: // a page as well, or nothing at all
		w.Pauses.FailedEverywhere(failure, time.Now())
	}
}

// maxRefused is how often a body may be refused by something before Kling that lets others of its kind pass.
const maxRefused = 3

// foreign pauses the kind of a request that was not answered by Kling. It returns why the request is rejected, if it is
// the only one to fare so: a body too large for a gateway, a word that a firewall dislikes.
func (c *Creator) foreign(j *attempt, failure *kling.Error) *events.Error {
	now := time.Now()
	if !c.pauses(j).Failed(j.Req.Kind, failure, j.sentAt, now) {
		return nil
	}
	if j.foreign == 0 {
		j.foreignAt = now
	}
	j.foreign++
	if j.foreign < maxRefused || !c.pauses(j).Passed(j.Req.Kind, j.foreignAt) {
		return nil
	}
	return &events.Error{
		Class: events.ErrorInvalid, HTTPStatus: failure.HTTPStatus,
		Message: fmt.Sprintf("something before Kling has refused this request %d times and let others of its kind pass: HTTP %d: %s",
			j.foreign, failure.HTTPStatus, failure.Message),
	}
}

// rejectForeign rejects a request that something before Kling refuses, if Kling denies that it has a task of it: what
// refuses may be in the way of the answer only. It is not done while Kling does not say.
func (c *Creator) rejectForeign(ctx context.Context, j *attempt, why *events.Error) (v dispatch.Result, done bool, err error) {
	client, err := c.client(j)
	if err != nil {
		return dispatch.Result{}, false, err
	}
	task, err := client.FindExternal(ctx, j.Req.Kind, j.rec.ExternalTaskID)
	if err == nil {
		v, err = c.found(ctx, j, task)
		return v, true, err
	}
	if kling.IsNotFound(err) {
		v, err = c.refuse(ctx, j, why)
		return v, true, err
	}
	c.Log.WarnContext(ctx, "lookup put off", append(j.Attrs(), slog.Any("err", err))...)
	return dispatch.Result{}, false, nil
}

// waitPaused is how long a request waits that would be sent again, were its kind not paused.
func (c *Creator) waitPaused(j *attempt, now time.Time) time.Duration {
	at, _, _ := c.pauses(j).Probe(j.Req.Kind)
	return min(max(at.Sub(now), firstLookupWait), maxLookupWait)
}
