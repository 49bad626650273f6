package bridge

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/events"
)

// wantedStream is one stream as it should be.
type wantedStream struct {
	config jetstream.StreamConfig
	prefix string // of subjects that may change from release to release
	// keeps tells that nothing may be dropped before its time: it is a request, or a guard.
	keeps bool
}

func wantedStreams(o Options, maxPayload int64) []wantedStream {
	s, size := o.Subjects, o.StreamMaxBytes
	own := s.Prefix() + "."
	all := []wantedStream{
		{sized(request.StreamConfig(s, o.Kinds, maxPayload), size.Requests, jetstream.DiscardNew), own, true},
		{sized(eventsStream(s, o.EventRetention), size.Events, jetstream.DiscardOld), "", true},
		{sized(deadStream(s, o.EventRetention), size.Dead, jetstream.DiscardOld), "", false},
		{sized(settingsStream(s), size.Settings, jetstream.DiscardNew), "", false},
	}
	for i := range all {
		all[i].config.Replicas = o.StreamReplicas
		all[i].config.Storage = jetstream.FileStorage
	}
	return all
}

// provision creates or checks every stream, once it is known that the account has room for all of them. It returns the
// options as they are on that account.
func provision(ctx context.Context, b *bus.Bus, o Options) (Options, error) {
	o, err := fitAccount(ctx, b, o)
	if err != nil {
		return o, err
	}
	for _, want := range wantedStreams(o, b.MaxPayload()) {
		if state := compare(ctx, b, want); len(state.Bounds) > 0 {
			return o, state.Err
		}
		if err := b.EnsureStream(ctx, want.config, want.prefix); err != nil {
			return o, err
		}
	}
	return o, b.KeepRoom(ctx, o.Subjects.EventsStream(), o.Subjects.Put(""))
}

// eventsStream has one way in: a message for a subject is published below the put prefix, the transform takes the
// prefix off, and what was stored is republished to plain subscribers. So nobody without permission on the put prefix
// can place a completion, and plain subscribers see no refused repeat.
func eventsStream(s events.Subjects, retention time.Duration) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              s.EventsStream(),
		Description:       "klingbridge: progress, completions and the bridge's own state",
		Subjects:          []string{s.Put(">")},
		SubjectTransform:  &jetstream.SubjectTransformConfig{Source: s.Put(">"), Destination: ">"},
		RePublish:         &jetstream.RePublish{Source: s.Public(), Destination: s.Public()},
		MaxAge:            retention,
		Duplicates:        min(request.DuplicateWindow, retention),
		AllowDirect:       true,
		AllowMsgSchedules: true,
	}
}

// deadStream keeps requests that never became a task.
func deadStream(s events.Subjects, retention time.Duration) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        s.DeadStream(),
		Description: "klingbridge: requests that never became a task, with the reason",
		Subjects:    []string{s.AllDead()},
		MaxAge:      retention,
		Duplicates:  min(request.DuplicateWindow, retention),
		AllowDirect: true,
	}
}

// settingsStream keeps what all replicas must agree on. It stands apart from the events stream because it must not age
// and because readers of events have no business with the callback secret. The first value stays until it is deleted: a
// later one would be somebody's who made the server send its answer to a publish here.
func settingsStream(s events.Subjects) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:                 s.SettingsStream(),
		Description:          "klingbridge: values generated once and shared by all replicas",
		Subjects:             []string{s.Setting("*")},
		MaxMsgsPerSubject:    1,
		Discard:              jetstream.DiscardNew,
		DiscardNewPerSubject: true,
		Duplicates:           request.DuplicateWindow,
	}
}
