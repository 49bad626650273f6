package bridge

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/bridge/subjects"
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
		{sized(store.EventsStream(s, o.EventRetention), size.Events, jetstream.DiscardOld), "", true},
		{sized(store.DeadStream(s, o.EventRetention), size.Dead, jetstream.DiscardOld), "", false},
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

// settingsStream keeps what all replicas must agree on. It stands apart from the events stream because it must not age
// and because readers of events have no business with the callback secret. The first value stays until it is deleted: a
// later one would be somebody's who made the server send its answer to a publish here.
func settingsStream(s subjects.Subjects) jetstream.StreamConfig {
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
