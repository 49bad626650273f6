package main

import (
	"net"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/callback"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/subjects"
)

// bridgeOptions maps the environment onto the bridge. What is left to the caller are the listeners, which have to be
// closed again, the metrics, and the tracer provider, which is the global one where none is given.
func bridgeOptions(s settings) (bridge.Options, error) {
	client, err := kling.NewClient(klingOptions(s))
	if err != nil {
		return bridge.Options{}, err
	}
	callbackTLS, err := callbackTLS(s.Config, s.log)
	if err != nil {
		return bridge.Options{}, err
	}
	return bridge.Options{
		Bus:   busOptions(s),
		Kling: client,
		Kinds: s.kinds,

		Subjects:       subjects.Subjects{Subjects: s.subjects},
		Namespace:      s.Namespace,
		StreamReplicas: s.StreamReplicas,
		StreamMaxBytes: streamSizes(s),
		EventRetention: s.EventRetention,

		AdminHosts:      adminHosts(s),
		AdminToken:      s.AdminToken.Reveal(),
		CallbackTLS:     callbackTLS,
		PublicURL:       s.PublicURL,
		CallbackSecrets: s.CallbackSecret.Reveal(),
		WebhookSecrets:  s.KlingWebhookSecret.Reveal(),
		CallbackTrust:   callback.Trust(s.CallbackTrust),
		Adopt:           s.Adopt,

		TaskTimeout:       s.TaskTimeout,
		LookupWindow:      s.LookupWindow,
		ProbeInterval:     s.ProbeInterval,
		PollAfter:         s.PollAfter,
		PollMinInterval:   s.PollMinInterval,
		PollMaxInterval:   s.PollMaxInterval,
		ReconcileInterval: s.ReconcileInterval,
		Concurrency:       poolCaps(s),
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

func klingOptions(s settings) kling.Options {
	return kling.Options{
		BaseURL: s.KlingBaseURL,
		Credentials: kling.Credentials{
			APIKey:    s.KlingAPIKey.Reveal(),
			AccessKey: s.KlingAccessKey.Reveal(),
			SecretKey: s.KlingSecretKey.Reveal(),
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

func poolCaps(s settings) map[kling.Pool]int {
	caps := make(map[kling.Pool]int, len(s.Concurrency))
	for pool, n := range s.Concurrency {
		caps[kling.Pool(pool)] = n
	}
	return caps
}
