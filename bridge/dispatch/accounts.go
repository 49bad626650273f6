package dispatch

import (
	"fmt"
	"slices"
	"strings"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

// AccountPauses are the pauses of every account, in order of preference. A request is held back only where each account that
// it may go to is paused.
type AccountPauses []*AccountPause

// AccountPause is what is paused of one account.
type AccountPause struct {
	*Pauses
	Account string
	plain   bool // there is no other account to tell it from
}

// NewAccountPauses makes the pauses of accounts.
func NewAccountPauses(accounts kling.Accounts, pausesOf func(name string) *Pauses) AccountPauses {
	var all AccountPauses
	for _, name := range accounts.Names() {
		all = append(all, &AccountPause{Pauses: pausesOf(name), Account: name, plain: accounts.Plain()})
	}
	return all
}

// Of returns the pauses of an account; nil: it is not configured.
func (a AccountPauses) Of(account string) *Pauses {
	for _, p := range a {
		if p.Account == account {
			return p.Pauses
		}
	}
	return nil
}

// Best names the first account of which nothing is paused, or else the first.
func (a AccountPauses) Best() string {
	for _, p := range a {
		if !p.any() {
			return p.Account
		}
	}
	return a[0].Account
}

// Listen has f called after each change of what is paused, with nothing locked.
func (a AccountPauses) Listen(f func()) {
	for _, p := range a {
		p.Listen(f)
	}
}

// named puts the name of the account before a reason, where there are several.
func (p *AccountPause) named(reason string) string {
	if p.plain {
		return reason
	}
	return "account " + p.Account + ": " + reason
}

// Reasons lists what is paused and why, where a kind has no account left for it. The rest are warnings: what is paused while
// others do its work.
func (a AccountPauses) Reasons(kinds kling.Kinds) (reasons, warnings []Reason) {
	stuck := map[Scope]bool{}
	for _, k := range kinds.All() {
		if slices.ContainsFunc(a, func(p *AccountPause) bool { return !p.holds(k) }) {
			continue
		}
		for _, scope := range scopes(k) {
			stuck[scope] = true
		}
	}
	for _, p := range a {
		for _, r := range p.scoped() {
			told := Reason{Component: r.scope.Component(), Reason: p.named(r.reason)}
			if stuck[r.scope] || len(a) == 1 { // also of a kind that is not known any more
				reasons = append(reasons, told)
			} else {
				warnings = append(warnings, told)
			}
		}
	}
	return reasons, warnings
}

// All lists what is paused of each account.
func (a AccountPauses) All() (all []Held) {
	for _, p := range a {
		for _, h := range p.held() {
			if !p.plain {
				h.Account = p.Account
			}
			all = append(all, h)
		}
	}
	return all
}

// Held lists why nothing is sent of a kind, for an account or for any; empty: it is.
func (a AccountPauses) Held(k kling.Kind, account string) []string {
	return a.collect(k, account, (*Pauses).Of)
}

// NamedHeld is Held for any account, with the name of the kind before what covers no other.
func (a AccountPauses) NamedHeld(k kling.Kind) []string { return a.collect(k, "", (*Pauses).NamedOf) }

func (a AccountPauses) collect(k kling.Kind, account string, of func(*Pauses, kling.Kind) []string) (all []string) {
	for _, p := range a {
		if account != "" && p.Account != account {
			continue
		}
		reasons := of(p.Pauses, k)
		if len(reasons) == 0 {
			return nil
		}
		for _, r := range reasons {
			all = append(all, p.named(r))
		}
	}
	return all
}

// Reason is one entry of the readiness answer.
type Reason struct {
	Component string `json:"component"`
	Reason    string `json:"reason"`
}

// Alike reports whether two reasons tell of the same fault, whatever the details behind the colon.
func (r Reason) Alike(other Reason) bool {
	mine, _, _ := strings.Cut(r.Reason, ": ")
	others, _, _ := strings.Cut(other.Reason, ": ")
	return r.Component == other.Component && mine == others
}

// Strays counts the tasks in flight of accounts that are not configured, by their names.
func Strays(pools map[kling.Pool]*Pool) map[string]int {
	tasks := map[string]int{}
	for _, p := range pools {
		for _, share := range p.met() {
			if share.Pauses != nil {
				continue
			}
			if _, n := share.Slots.Status(); n > 0 {
				tasks[share.Account] += n
			}
		}
	}
	return tasks
}

// StrayReasons tells of accounts that are not configured any more and have tasks in flight.
func StrayReasons(pools map[kling.Pool]*Pool) (all []Reason) {
	for account, n := range Strays(pools) {
		all = append(all, Reason{
			Component: "account:" + account,
			Reason: fmt.Sprintf("%d tasks in flight are on this account, which is not configured (KLING_ACCOUNTS): they end when it is back, or when they expire",
				n),
		})
	}
	slices.SortFunc(all, func(a, b Reason) int { return strings.Compare(a.Component, b.Component) })
	return all
}
