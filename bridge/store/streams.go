package store

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/subjects"
)

// EventsStream has one way in: a message for a subject is published below the put prefix, the transform takes the
// prefix off, and what was stored is republished to plain subscribers. So nobody without permission on the put prefix
// can place a completion, and plain subscribers see no refused repeat.
func EventsStream(s subjects.Subjects, retention time.Duration) jetstream.StreamConfig {
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

// DeadStream keeps requests that never became a task.
func DeadStream(s subjects.Subjects, retention time.Duration) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        s.DeadStream(),
		Description: "klingbridge: requests that never became a task, with the reason",
		Subjects:    []string{s.AllDead()},
		MaxAge:      retention,
		Duplicates:  min(request.DuplicateWindow, retention),
		AllowDirect: true,
	}
}
