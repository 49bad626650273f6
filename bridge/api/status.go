package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// Status returns what the bridge has to do and what keeps it from doing so. Slots and pauses are as this replica knows
// them. Where something keeps it from counting too, that is told, and what can't be counted is 0.
func (a *API) Status(ctx context.Context) (events.BridgeStatus, error) {
	status := events.BridgeStatus{Version: a.Version, Reasons: []string{}, Kling: a.klingStatus()}
	for _, r := range a.Readiness() {
		status.Reasons = append(status.Reasons, r.Component+": "+r.Reason)
	}
	status.Ready = len(status.Reasons) == 0
	if !status.Ready { // the reasons can't wait for a server that may not answer
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, countTime)
		defer cancel()
	}
	if err := a.count(ctx, &status); err != nil && status.Ready {
		return events.BridgeStatus{}, err
	}
	return status, nil
}

func (a *API) klingStatus() *events.KlingStatus {
	r := a.Health.Report(time.Now())
	return &events.KlingStatus{
		AnsweredAt: instant(r.AnsweredAt), FailedAt: instant(r.FailedAt), Failure: r.Failure, Calls: r.Calls, Errors: r.Errors,
	}
}

// countTime bounds the counting while the bridge is not ready.
const countTime = time.Second

// count fills in the numbers. After an error it asks for no more of them, and fills in what is known without asking.
func (a *API) count(ctx context.Context, status *events.BridgeStatus) (err error) {
	for _, name := range a.Kinds.Pools() {
		waiting := map[string]int{}
		if err == nil {
			waiting, err = a.waitingIn(ctx, name)
		}
		pool, tasks := a.Pools[name].Status()
		pool.Waiting, pool.Paused = waiting, a.pausesOf(name)
		for i, account := range pool.Accounts {
			pool.Accounts[i].Paused = a.accountPauses(account.Account, name)
		}
		status.InFlight += tasks
		status.Pools = append(status.Pools, pool)
	}
	for stream, held := range map[string]*int{
		a.Subjects.RequestsStream(): &status.QueueDepth, a.Subjects.DeadStream(): &status.Dead,
	} {
		if err != nil {
			return err
		}
		var state jetstream.StreamState
		state, err = a.Bus.State(ctx, stream)
		*held = int(state.Msgs)
	}
	return err
}

// waitingIn counts the requests of a pool by priority: those in the stream, whether a replica holds them or not.
func (a *API) waitingIn(ctx context.Context, pool kling.Pool) (map[string]int, error) {
	waiting := map[string]int{}
	for _, lane := range a.Lanes[pool] {
		c, err := a.Bus.JetStream().Consumer(ctx, a.Subjects.RequestsStream(), lane.Durable())
		if errors.Is(err, jetstream.ErrConsumerNotFound) { // it will be made again
			continue
		}
		if err != nil {
			return waiting, fmt.Errorf("consumer %s: %w", lane.Durable(), err)
		}
		info := c.CachedInfo()
		waiting[lane.PriorityName()] += int(info.NumPending) + info.NumAckPending
	}
	return waiting, nil
}

// pausesOf lists what of a pool is not sent and why: all of it, or all of a generation, or the kinds that are named.
func (a *API) pausesOf(pool kling.Pool) []string { return a.collectPauses(pool, a.Pauses.NamedHeld) }

// accountPauses is pausesOf for one account.
func (a *API) accountPauses(account string, pool kling.Pool) []string {
	p := a.Pauses.Of(account)
	if p == nil {
		return []string{(&kling.UnknownAccountError{Name: account}).Error()}
	}
	return a.collectPauses(pool, p.NamedOf)
}

func (a *API) collectPauses(pool kling.Pool, of func(kling.Kind) []string) []string {
	reasons := []string{}
	for _, kind := range a.Kinds.All() {
		if kind.Pool != pool {
			continue
		}
		for _, reason := range of(kind) {
			if !slices.Contains(reasons, reason) {
				reasons = append(reasons, reason)
			}
		}
	}
	return reasons
}
