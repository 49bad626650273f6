package main

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/config"
)

// simAccount is an account of the simulation. The only one has no name.
type simAccount struct {
	name    string
	options klingtest.Options
}

// perAccount returns the accounts that --account names, which share all that the other flags say, or the only one.
func (s simulation) perAccount(common klingtest.Options) ([]simAccount, error) {
	if len(s.accounts) == 0 {
		return []simAccount{{options: common}}, nil
	}
	if len(s.options.APIKeys) > 0 || s.options.AccessKey != "" {
		return nil, usagef("--account: each has a key of its own, give no --api-key and no --access-key")
	}
	var accounts []simAccount
	named := map[string]bool{}
	for _, text := range s.accounts {
		a, err := parseAccount(text, common)
		if err != nil {
			return nil, usagef("--account %s: %w", text, err)
		}
		if named[a.name] {
			return nil, usagef("--account %s: there is another one of that name", text)
		}
		named[a.name] = true
		accounts = append(accounts, a)
	}
	return accounts, nil
}

func parseAccount(text string, common klingtest.Options) (simAccount, error) {
	name, list, _ := strings.Cut(text, ":")
	a := simAccount{name: name, options: common}
	var names config.AccountNames
	if err := names.UnmarshalText([]byte(name)); err != nil {
		return a, err
	}
	if len(names) > 1 {
		return a, errors.New("give the flag again for another account")
	}
	a.options.APIKeys = []string{simAPIKey + "-" + name}
	if list == "" {
		return a, nil
	}
	var numbers config.Concurrency
	if err := numbers.UnmarshalText([]byte(list)); err != nil {
		return a, err
	}
	a.options.Credits = numbers["credits"]
	delete(numbers, "credits")
	a.options.Slots = maps.Clone(common.Slots)
	for pool, n := range numbers {
		if _, known := common.Slots[kling.Pool(pool)]; !known {
			return a, fmt.Errorf("there is no pool %s (there are %s)", pool, joinPools(common.Kinds.Pools()))
		}
		a.options.Slots[kling.Pool(pool)] = n
	}
	return a, nil
}

// printKeys prints the variables with which a bridge uses the accounts.
func (p *program) printKeys(accounts []simAccount) {
	var names []string
	for _, a := range accounts {
		if a.name != "" {
			names = append(names, a.name)
		}
		if len(a.options.APIKeys) > 0 {
			variable := config.Account{Name: a.name}.Variable("KLING_API_KEY")
			fmt.Fprintf(p.stdout, "export %s=%s\n", variable, a.options.APIKeys[0])
		}
	}
	if len(names) > 0 {
		fmt.Fprintf(p.stdout, "export KLING_ACCOUNTS=%s\n", strings.Join(names, ","))
	}
}
