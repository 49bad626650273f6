package bridge

import (
	"context"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// duplicateWindow of every stream. It only turns fast repeats into a friendly answer: the guarantee is the guard on each
// publish. A long window would cost 176 bytes of server memory an id and slow restarts.
const duplicateWindow = 2 * time.Minute

// provision creates or checks every stream.
func provision(ctx context.Context, b *bus.Bus, o Options) error {
	s := o.Subjects
	own := s.Prefix() + "."
	for _, want := range []struct {
		config jetstream.StreamConfig
		prefix string // of subjects that may change from release to release
	}{
		{requestsStream(s, o.Kinds, b.MaxPayload()), own},
		{eventsStream(s, o.EventRetention), ""},
		{deadStream(s, o.EventRetention), ""},
		{settingsStream(s), ""},
	} {
		want.config.Replicas = o.StreamReplicas
		want.config.Storage = jetstream.FileStorage
		if err := b.EnsureStream(ctx, want.config, want.prefix); err != nil {
			return err
		}
	}
	return nil
}

// requestRoom is what a request must leave of the largest message: its dead letter has more headers than itself.
const requestRoom = 8 << 10

// requestsStream takes requests of the known kinds only, and none so large that it could not become a dead letter, so
// that what can't be handled fails at its publisher.
func requestsStream(s events.Subjects, kinds kling.Kinds, maxPayload int64) jetstream.StreamConfig {
	var subjects []string
	for _, k := range kinds.All() {
		for _, p := range events.Priorities() {
			subjects = append(subjects, s.Request(k.Name, p))
		}
	}
	return jetstream.StreamConfig{
		Name:        s.RequestsStream(),
		Description: "klingbridge: requests that wait to become Kling tasks",
		Subjects:    subjects,
		Retention:   jetstream.WorkQueuePolicy,
		MaxMsgSize:  int32(min(max(maxPayload-requestRoom, requestRoom), math.MaxInt32)),
		Duplicates:  duplicateWindow,
		AllowDirect: true,
	}
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
		Duplicates:        min(duplicateWindow, retention),
		AllowDirect:       true,
		AllowMsgSchedules: true,
	}
}

func deadStream(s events.Subjects, retention time.Duration) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        s.DeadStream(),
		Description: "klingbridge: requests that never became a task, with the reason",
		Subjects:    []string{s.AllDead()},
		MaxAge:      retention,
		Duplicates:  min(duplicateWindow, retention),
		AllowDirect: true,
	}
}

// settingsStream keeps what all replicas must agree on. It stands apart from the events stream because it must not age
// and because readers of events have no business with the callback secret.
func settingsStream(s events.Subjects) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              s.SettingsStream(),
		Description:       "klingbridge: values generated once and shared by all replicas",
		Subjects:          []string{s.Setting("*")},
		MaxMsgsPerSubject: 1,
		Duplicates:        duplicateWindow,
	}
}
