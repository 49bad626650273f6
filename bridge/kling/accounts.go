package kling

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
)

// DefaultAccount names the account of who has only one, and that of all that names none.
const DefaultAccount = "default"

var accountName = regexp.MustCompile(`^[a-z0-9-]{1,16}$`)

// IsAccountName reports whether an account can be called so.
func IsAccountName(name string) bool { return accountName.MatchString(name) }

// Account is one account at Kling: with its own key, its own limits and its own secrets.
type Account struct {
	Name        string
	Client      *Client
	Webhook     *Webhook     // verifies its callbacks; nil: they need no signature
	Concurrency map[Pool]int // upper bound on its tasks in flight over all replicas; absent: Kling's own limit
}

// Accounts are those that a bridge works with, in order of preference. They don't change.
type Accounts struct {
	all []Account
}

// NewAccounts wants at least one account, and a name of its own for each.
func NewAccounts(all ...Account) (Accounts, error) {
	if len(all) == 0 {
		return Accounts{}, errors.New("no account at Kling")
	}
	seen := map[string]bool{}
	for _, a := range all {
		switch {
		case !IsAccountName(a.Name):
			return Accounts{}, fmt.Errorf("account %q: want a name of 1 to 16 of a-z, 0-9 and -", a.Name)
		case seen[a.Name]:
			return Accounts{}, fmt.Errorf("account %s is named twice", a.Name)
		case a.Client == nil:
			return Accounts{}, fmt.Errorf("account %s has no client", a.Name)
		}
		seen[a.Name] = true
	}
	return Accounts{all: slices.Clone(all)}, nil
}

// All lists the accounts, the preferred one first.
func (a Accounts) All() []Account { return a.all }

// Lookup returns the account of a name.
func (a Accounts) Lookup(name string) (Account, bool) {
	for _, account := range a.all {
		if account.Name == name {
			return account, true
		}
	}
	return Account{}, false
}

// Names lists the names of the accounts, in order.
func (a Accounts) Names() []string {
	names := make([]string, len(a.all))
	for i, account := range a.all {
		names[i] = account.Name
	}
	return names
}

// Plain reports whether there is nothing to tell apart: one account, which was not given a name.
func (a Accounts) Plain() bool { return len(a.all) == 1 && a.all[0].Name == DefaultAccount }

// UnknownAccountError is why nothing is asked about a task: its account is not among those of the bridge any more.
type UnknownAccountError struct{ Name string }

func (e *UnknownAccountError) Error() string {
	return fmt.Sprintf("account %s is not configured (KLING_ACCOUNTS)", e.Name)
}

// Client returns the client of an account, or an [*UnknownAccountError].
func (a Accounts) Client(name string) (*Client, error) {
	account, ok := a.Lookup(name)
	if !ok {
		return nil, &UnknownAccountError{Name: name}
	}
	return account.Client, nil
}

// Observed returns the accounts with clients that tell of each of their calls, as [Client.Observed] does.
func (a Accounts) Observed(of func(account string) func(context.Context, Call)) Accounts {
	all := slices.Clone(a.all)
	for i, account := range all {
		all[i].Client = account.Client.Observed(of(account.Name))
	}
	return Accounts{all: all}
}
