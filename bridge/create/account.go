package create

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/klingbridge/klingbridge/bridge/dispatch"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/events"
)

// unfit returns why a request can't become a task, whatever Kling says; nil: it may. One whose account was configured when it was
// sent may have become one.
func (c *Creator) unfit(j *attempt) *events.Error {
	name := j.Req.Account
	_, known := c.Accounts.Lookup(name)
	switch {
	case j.Invalid != nil:
		return &events.Error{Class: events.ErrorInvalid, Message: j.Invalid.Error()}
	case name == "" || known || j.rec != nil:
		return nil
	default:
		return &events.Error{
			Class: events.ErrorInvalid,
			Message: fmt.Sprintf("%s: there is no account %q (there are %s)", events.HeaderAccount, request.Clip(name),
				strings.Join(c.Accounts.Names(), ", ")),
		}
	}
}

// client is that of the account that a job's record names.
func (c *Creator) client(j *attempt) (*kling.Client, error) { return c.Accounts.Client(j.rec.Account) }

// pauses are those of the account that a job's record names; nil: it is not configured.
func (c *Creator) pauses(j *attempt) *dispatch.Pauses { return c.Pauses.Of(j.rec.Account) }

// gone lets a request wait whose account is not configured any more: nobody else knows of its task.
func (c *Creator) gone(ctx context.Context, j *attempt, why error) dispatch.Result {
	c.Log.WarnContext(ctx, "lookup put off", append(j.Attrs(), slog.Any("err", why))...)
	return dispatch.TryAgain(maxLookupWait).Because(why.Error())
}

// freed reports whether a request whose account has denied the task may go on to another one: all that was sent there was answered
// by something before Kling, which is still in the way.
func (c *Creator) freed(j *attempt) bool {
	_, _, paused := c.pauses(j).Probe(j.Req.Kind)
	return paused && len(c.Accounts.All()) > 1 && j.Req.Account == "" && j.rec.Attempt == 1 && j.answeredClaim == j.rec.Claim
}

// askOthers asks the other accounts for the task of a doubtful request, and moves it to the one that has it. Its own account is
// asked next. It returns which one does not answer while that may have the task: sent elsewhere, the request would be paid for
// twice. An account that refuses the bridge's key can't be asked, maybe for ever: it is only asked a few times.
func (c *Creator) askOthers(ctx context.Context, j *attempt) (unanswered string) {
	if j.Req.Account != "" {
		return ""
	}
	silent, refused := "", ""
	for _, other := range c.Accounts.All() {
		if other.Name == j.Account() {
			continue
		}
		switch is, why := c.askOther(ctx, j, other); is {
		case hasTask:
			j.MoveTo(other.Name)
			return ""
		case refusesKey:
			refused = why
		case isSilent:
			silent = why
		}
	}
	if silent != "" || refused != "" {
		j.otherAsks++
	}
	if silent == "" && j.otherAsks >= maxAsks {
		return ""
	}
	return cmp.Or(silent, refused)
}

// whereabouts is what an account says of a task.
type whereabouts int

const (
	hasNoTask whereabouts = iota
	hasTask
	refusesKey
	isSilent
)

// askOther asks an account for the task of a doubtful request. why tells people of an account that does not say.
func (c *Creator) askOther(ctx context.Context, j *attempt, other kling.Account) (is whereabouts, why string) {
	task, err := other.Client.FindExternal(ctx, j.Req.Kind, c.externalID(j))
	switch {
	case err == nil && !older(j, task):
		return hasTask, ""
	case err == nil || kling.IsNotFound(err):
		return hasNoTask, ""
	}
	c.Log.WarnContext(ctx, "lookup put off", append(j.Attrs(), slog.String("account", other.Name), slog.Any("err", err))...)
	failure, answered := errors.AsType[*kling.Error](err)
	if !answered {
		return isSilent, "Kling on account " + other.Name
	}
	why = fmt.Sprintf("Kling on account %s: %s", other.Name, failure.Brief())
	if failure.Class == kling.ClassAuth || failure.Class == kling.ClassPermission {
		return refusesKey, why
	}
	return isSilent, why
}
