package callback

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/store"
)

// proof is what the signature of a callback shows: which accounts may have sent it. A secret of one account proves nothing for
// another.
type proof struct {
	signed   []kling.Account // with a secret of theirs
	unsigned []kling.Account // that have no secret: the URL has to do
	why      error           // the other accounts have not sent it
}

// examine verifies the signature with the secrets of every account.
func (lr *Live) examine(h http.Header, body []byte) proof {
	if !lr.signs() {
		return proof{unsigned: lr.Accounts.All()}
	}
	var p proof
	now := time.Now()
	for _, account := range lr.Accounts.All() {
		if account.Webhook == nil {
			p.unsigned = append(p.unsigned, account)
			continue
		}
		if err := account.Webhook.Verify(h, body, now); err != nil {
			p.why = err
			continue
		}
		p.signed = append(p.signed, account)
	}
	return p
}

// none returns why no account at all may have sent the callback; nil: one may.
func (p proof) none() error {
	if len(p.signed)+len(p.unsigned) > 0 {
		return nil
	}
	return p.why
}

// senders lists the accounts that may have sent the callback.
func (p proof) senders() []kling.Account {
	if len(p.signed) > 0 {
		return p.signed
	}
	return p.unsigned
}

// of reports whether the account of a name may have sent the callback.
func (p proof) of(name string) bool {
	is := func(a kling.Account) bool { return a.Name == name }
	return slices.ContainsFunc(p.signed, is) || slices.ContainsFunc(p.unsigned, is)
}

// signs reports whether any account signs its callbacks.
func (lr *Live) signs() bool {
	return slices.ContainsFunc(lr.Accounts.All(), func(a kling.Account) bool { return a.Webhook != nil })
}

// authorize refuses the callback of another account than the request's. Where that is not known, as its record is lost, it is
// found out.
func (lr *Live) authorize(ctx context.Context, cb callback, rec *store.Record, p proof, task kling.Task) (outcome, error) {
	if rec.Account == "" {
		return lr.settleAccount(ctx, cb, rec, p, task)
	}
	return lr.from(rec.Account, p)
}

// from refuses what another account than the one of that name has sent.
func (lr *Live) from(account string, p proof) (outcome, error) {
	if _, known := lr.Accounts.Lookup(account); !known && lr.signs() { // it may have had a secret
		return outcomeUnavailable, &kling.UnknownAccountError{Name: account}
	} else if known && !p.of(account) {
		return outcomeUnsigned, fmt.Errorf("account %s: %w", account, p.why)
	}
	return outcomeTaken, nil
}

// settleAccount notes the account that a callback is from: the one that has signed it, or that has the task.
func (lr *Live) settleAccount(ctx context.Context, cb callback, rec *store.Record, p proof, task kling.Task) (outcome, error) {
	senders := p.senders()
	if len(senders) == 1 {
		rec.On(senders[0].Name)
		return outcomeTaken, nil
	}
	_, account, err := whose(ctx, senders, cb.kind, task)
	switch {
	case err != nil:
		return outcomeUnavailable, err
	case account == "": // Kling may deny a task that it has just made: it calls back again
		return outcomeUnavailable, errors.New("no account has the task yet")
	default:
		rec.On(account)
		return outcomeTaken, nil
	}
}

// askTime bounds what Kling is asked before a callback is answered.
const askTime = 1500 * time.Millisecond

// whose returns the task as Kling knows it, and the first of the accounts that has it; empty: all deny it. The task need not have
// both ids.
func whose(ctx context.Context, accounts []kling.Account, k kling.Kind, task kling.Task) (found kling.Task, account string, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var failed error
	for _, a := range accounts {
		if task.ID != "" {
			found, err = a.Client.Query(ctx, k, task.ID)
		} else {
			found, err = a.Client.FindExternal(ctx, k, task.ExternalID)
		}
		if err == nil {
			return found, a.Name, nil
		}
		if !kling.IsNotFound(err) {
			failed = err
		}
	}
	return kling.Task{}, "", failed
}
