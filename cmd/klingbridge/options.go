package main

import (
	"cmp"
	"net"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/callback"
	"github.com/klingbridge/klingbridge/bridge/dispatch"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/config"
)

// bridgeOptions maps the environment onto the bridge. What is left to the caller are the listeners, which have to be
// closed again, the metrics, and the tracer provider, which is the global one where none is given.
func bridgeOptions(s settings) (bridge.Options, error) {
	accounts, err := klingAccounts(s)
	if err != nil {
		return bridge.Options{}, err
	}
	callbackTLS, err := callbackTLS(s.Config, s.log)
	if err != nil {
		return bridge.Options{}, err
	}
	return bridge.Options{
		Bus:   busOptions(s),
		Kinds: s.kinds,

		Accounts:     accounts,
		AccountOrder: dispatch.Order(s.AccountOrder),

		Subjects:       subjects.Subjects{Subjects: s.subjects},
		Namespace:      s.Namespace,
		StreamReplicas: s.StreamReplicas,
		StreamMaxBytes: streamSizes(s),
		EventRetention: s.EventRetention,

		AdminHosts:      adminHosts(s),
		AdminToken:      s.AdminToken.Reveal(),
		TraceURL:        s.TraceURL,
		CallbackTLS:     callbackTLS,
		PublicURL:       s.PublicURL,
		CallbackSecrets: s.CallbackSecret.Reveal(),
		CallbackTrust:   callback.Trust(s.CallbackTrust),
		Adopt:           s.Adopt,

		TaskTimeout:       s.TaskTimeout,
		Retries:           s.Retries,
		LookupWindow:      s.LookupWindow,
		ProbeInterval:     s.ProbeInterval,
		PollAfter:         s.PollAfter,
		PollMinInterval:   s.PollMinInterval,
		PollMaxInterval:   s.PollMaxInterval,
		ReconcileInterval: s.ReconcileInterval,
		Concurrency:       poolCaps(s.Concurrency),
		MaxInlineBytes:    s.MaxInlineBytes,
		InputBuckets:      s.InputBuckets,
		ShutdownTimeout:   s.ShutdownTimeout,
		AckWait:           s.AckWait,

		Archive:   s.archive,
		Version:   thisBuild().Version,
		Simulated: s.simulated,

		Logger: s.log,
	}, nil
}

// adminHosts are the names the admin listener is known by: those that are set, and the one it listens on.
func adminHosts(s settings) []string {
	host, _, _ := net.SplitHostPort(s.AdminAddr) // which was checked
	return append([]string{host}, s.AdminHosts...)
}

// klingAccounts are the accounts that are configured, each with a client of its own.
func klingAccounts(s settings) ([]kling.Account, error) {
	var all []kling.Account
	for _, a := range s.Accounts() {
		account := kling.Account{Name: cmp.Or(a.Name, kling.DefaultAccount), Concurrency: poolCaps(a.Concurrency)}
		var err error
		if account.Client, err = kling.NewClient(klingOptions(s, a)); err != nil {
			return nil, err
		}
		if len(a.WebhookSecret) > 0 {
			if account.Webhook, err = kling.NewWebhook(a.WebhookSecret.Reveal()); err != nil {
				return nil, err
			}
		}
		all = append(all, account)
	}
	return all, nil
}

func klingOptions(s settings, a config.Account) kling.Options {
	return kling.Options{
		BaseURL: a.BaseURL,
		Credentials: kling.Credentials{
			APIKey:    a.APIKey.Reveal(),
			AccessKey: a.AccessKey.Reveal(),
			SecretKey: a.SecretKey.Reveal(),
		},
		Timeout: s.KlingTimeout,
	}
}

func streamSizes(s settings) bridge.StreamSizes {
	size := s.StreamMaxBytes
	return bridge.StreamSizes{
		Requests: size["requests"], Events: size["events"], Dead: size["dead"], Settings: size["settings"],
		Archive: size["archive"],
	}
}

func poolCaps(c config.Concurrency) map[kling.Pool]int {
	caps := make(map[kling.Pool]int, len(c))
	for pool, n := range c {
		caps[kling.Pool(pool)] = n
	}
	return caps
}
