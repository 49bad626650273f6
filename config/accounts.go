package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"
)

// DefaultAccount names the account of the plain variables.
const DefaultAccount = "default"

// Account holds the variables of one account at Kling. Their names have its own in upper case, with _ in place of -.
type Account struct {
	Name          string      `env:"-"`
	APIKey        Secret      `env:"API_KEY" help:"that account's KLING_API_KEY"`
	AccessKey     Secret      `env:"ACCESS_KEY" help:"its KLING_ACCESS_KEY"`
	SecretKey     Secret      `env:"SECRET_KEY" help:"its KLING_SECRET_KEY"`
	BaseURL       string      `env:"BASE_URL" help:"its KLING_BASE_URL; empty: that one"`
	WebhookSecret Secrets     `env:"WEBHOOK_SECRET" help:"its KLING_WEBHOOK_SECRET: its callbacks must be signed with one of them, and those of no other account may be"`
	Concurrency   Concurrency `env:"CONCURRENCY" help:"upper bound on its own tasks in flight per pool over all replicas: video=8; BRIDGE_CONCURRENCY bounds those of all accounts together"`
}

var accountName = regexp.MustCompile(`^[a-z0-9-]{1,16}$`)

// AccountNames is a list of names of accounts.
type AccountNames []string

// UnmarshalText implements [encoding.TextUnmarshaler] for a list such as main,burst.
func (n *AccountNames) UnmarshalText(text []byte) error {
	var list AccountNames
	for item := range strings.SplitSeq(string(text), ",") {
		item = strings.TrimSpace(item)
		switch {
		case !accountName.MatchString(item):
			return fmt.Errorf("%q is not the name of an account (want 1 to 16 of a-z, 0-9 and -)", item)
		case slices.Contains(list, item):
			return fmt.Errorf("account %q is named twice", item)
		}
		list = append(list, item)
	}
	*n = list
	return nil
}

// accountPrefix begins the variables of an account; with <NAME> it stands for those of every one.
func accountPrefix(name string) string {
	return "KLING_ACCOUNT_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_")) + "_"
}

// Variable returns the name of an account's variable by the name of that of the only account: KLING_API_KEY.
func (a Account) Variable(plain string) string {
	if a.plain() {
		return plain
	}
	return accountPrefix(a.Name) + strings.TrimPrefix(plain, "KLING_")
}

// plain accounts have the plain variables.
func (a Account) plain() bool { return a.Name == "" }

// Accounts returns those that are named, or else the one of the plain variables.
func (c Config) Accounts() []Account {
	if len(c.AccountNames) > 0 {
		return c.Named
	}
	return []Account{{
		APIKey: c.KlingAPIKey, AccessKey: c.KlingAccessKey, SecretKey: c.KlingSecretKey, BaseURL: c.KlingBaseURL,
		WebhookSecret: c.KlingWebhookSecret,
	}}
}

// loadAccounts reads the variables of the accounts that are named.
func (c *Config) loadAccounts(environ map[string]string) Faults {
	var faults Faults
	for _, name := range c.AccountNames {
		a, prefix := Account{Name: name}, accountPrefix(name)
		err := env.ParseWithOptions(&a, env.Options{
			Environment: withTrimmedSecrets[Account](environ, prefix), FuncMap: parsers(), Prefix: prefix,
		})
		faults = append(faults, parseFaults[Account](err, prefix)...)
		if a.BaseURL == "" {
			a.BaseURL = c.KlingBaseURL
		}
		c.Named = append(c.Named, a)
	}
	return faults
}

// validateAccounts looks at what the types of the accounts' variables can't say.
func (c Config) validateAccounts() Faults {
	var f Faults
	for _, a := range c.Named {
		f.addIf(a.Variable("KLING_BASE_URL"), httpURLProblem(a.BaseURL))
		for _, secret := range a.WebhookSecret {
			f.addIf(a.Variable("KLING_WEBHOOK_SECRET"), webhookSecretProblem(secret.Reveal()))
		}
	}
	if len(c.AccountNames) > 0 && len(c.KlingWebhookSecret) > 0 { // to ignore it would let in what it keeps out
		f.add("KLING_WEBHOOK_SECRET", "is set together with KLING_ACCOUNTS: each account has a secret of its own")
	}
	f.addIf("BRIDGE_ACCOUNT_ORDER", choiceProblem(c.AccountOrder, "prefer", "spread"))
	return f
}

// requireCredentials returns what is missing of an account's.
func (a Account) requireCredentials() Faults {
	key, access, secret := a.Variable("KLING_API_KEY"), a.Variable("KLING_ACCESS_KEY"), a.Variable("KLING_SECRET_KEY")
	switch {
	case a.APIKey != "":
		return nil
	case a.AccessKey == "" && a.SecretKey == "":
		return Faults{{key, fmt.Sprintf("is not set, and neither is the pair %s and %s", access, secret)}}
	case a.AccessKey == "":
		return Faults{{access, fmt.Sprintf("is not set, but %s is: they go together", secret)}}
	case a.SecretKey == "":
		return Faults{{secret, fmt.Sprintf("is not set, but %s is: they go together", access)}}
	default:
		return nil
	}
}

// accountVariables describes the variables that each account has.
func accountVariables() []Variable {
	var all []Variable
	for field := range reflect.TypeFor[Account]().Fields() {
		if name := field.Tag.Get("env"); name != "-" {
			all = append(all, Variable{Name: accountPrefix("<name>") + name, Help: field.Tag.Get("help")})
		}
	}
	return all
}

// unused lists the plain variables that are set beside named accounts, which have their own.
func (c Config) unused(environ map[string]string) []string {
	var names []string
	for _, name := range []string{"KLING_ACCESS_KEY", "KLING_API_KEY", "KLING_SECRET_KEY"} {
		if len(c.AccountNames) > 0 && strings.TrimSpace(environ[name]) != "" {
			names = append(names, name)
		}
	}
	return names
}
