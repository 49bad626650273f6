package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ConflictError tells that a stream exists with settings that break the promises. The stream is left alone.
type ConflictError struct {
	Stream      string
	Differences []string // such as "retention is limits, want workqueue"
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("stream %s exists with an incompatible configuration and is left alone: %s",
		e.Stream, strings.Join(e.Differences, "; "))
}

// apiLevel of a server that knows message schedules; an older one refuses the request instead of ignoring the field.
const apiLevel = "4"

// EnsureStream creates the stream, or updates on an existing one the settings that are the bridge's to change: subjects
// below its own prefix, age, duplicate window, largest message, description, more replicas, a size with what happens when
// it is reached, and that the first message on a subject stays. Any other difference that matters is a [*ConflictError];
// a size where none is wanted is not one.
func (b *Bus) EnsureStream(ctx context.Context, want jetstream.StreamConfig, ownPrefix string) error {
	current, next, err := b.plan(ctx, want, ownPrefix)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = b.createStream(ctx, want)
		if !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return err
		}
		current, next, err = b.plan(ctx, want, ownPrefix) // another replica was faster
	}
	if err != nil {
		return err
	}
	if reflect.DeepEqual(current, next) {
		return nil
	}
	if _, err := b.js.UpdateStream(ctx, next); err != nil {
		return fmt.Errorf("update stream %s: %w", want.Name, err)
	}
	return nil
}

// CompareStream changes nothing. It returns the stream as it is and what [Bus.EnsureStream] would update on it, as
// "max_age is 720h0m0s, want 1h0m0s". The error is a [*ConflictError] where EnsureStream would leave the stream alone,
// and wraps [jetstream.ErrStreamNotFound] where it would create it.
func (b *Bus) CompareStream(
	ctx context.Context, want jetstream.StreamConfig, ownPrefix string,
) (current jetstream.StreamConfig, updates []string, err error) {
	current, next, err := b.plan(ctx, want, ownPrefix)
	if err != nil {
		return current, nil, err
	}
	var diff diffs
	diff.check("subjects", current.Subjects, next.Subjects)
	diff.check("max_age", current.MaxAge, next.MaxAge)
	diff.check("duplicate_window", current.Duplicates, next.Duplicates)
	diff.check("max_msg_size", current.MaxMsgSize, next.MaxMsgSize)
	diff.check("max_bytes", current.MaxBytes, next.MaxBytes)
	diff.check("allow_direct", current.AllowDirect, next.AllowDirect)
	diff.check("discard", current.Discard, next.Discard)
	diff.check("discard_new_per_subject", current.DiscardNewPerSubject, next.DiscardNewPerSubject)
	diff.check("num_replicas", current.Replicas, next.Replicas)
	diff.check("description", current.Description, next.Description)
	return current, diff, nil
}

// plan returns a stream's configuration and what it should become.
func (b *Bus) plan(
	ctx context.Context, want jetstream.StreamConfig, ownPrefix string,
) (current, next jetstream.StreamConfig, err error) {
	current, err = b.streamConfig(ctx, want.Name)
	if err != nil {
		return current, next, fmt.Errorf("stream %s: %w", want.Name, err)
	}
	if diff := differences(current, want, ownPrefix); len(diff) > 0 {
		return current, next, &ConflictError{Stream: want.Name, Differences: diff}
	}
	return current, updated(current, want), nil
}

// updated is the current configuration with the settings that are the bridge's to change.
func updated(current, want jetstream.StreamConfig) jetstream.StreamConfig {
	next := current
	next.Subjects, next.MaxAge, next.Duplicates = want.Subjects, want.MaxAge, want.Duplicates
	next.Description, next.AllowDirect = want.Description, want.AllowDirect
	if want.MaxMsgSize > 0 {
		next.MaxMsgSize = want.MaxMsgSize
	}
	if want.MaxBytes > 0 {
		next.MaxBytes, next.Discard = want.MaxBytes, want.Discard
	}
	if want.DiscardNewPerSubject {
		next.Discard, next.DiscardNewPerSubject = want.Discard, true
	}
	next.Replicas = max(current.Replicas, want.Replicas)
	return next
}

func (b *Bus) streamConfig(ctx context.Context, name string) (jetstream.StreamConfig, error) {
	s, err := b.js.Stream(ctx, name)
	if err != nil {
		return jetstream.StreamConfig{}, err
	}
	return s.CachedInfo().Config, nil
}

func (b *Bus) createStream(ctx context.Context, want jetstream.StreamConfig) error {
	payload, err := json.Marshal(want)
	if err != nil {
		return err
	}
	var resp struct {
		Error *jetstream.APIError `json:"error"`
	}
	header := nats.Header{"Nats-Required-Api-Level": {apiLevel}}
	if err := b.api(ctx, "STREAM.CREATE."+want.Name, header, payload, &resp); err != nil {
		return fmt.Errorf("create stream %s: %w", want.Name, err)
	}
	if resp.Error != nil {
		return fmt.Errorf("create stream %s: %w", want.Name, resp.Error)
	}
	return nil
}

// diffs collects what differs, a line for each setting.
type diffs []string

func (d *diffs) check(name string, have, want any) {
	if !reflect.DeepEqual(have, want) {
		*d = append(*d, fmt.Sprintf("%s is %s, want %s", name, show(have), show(want)))
	}
}

// differences lists what on an existing stream would break a promise.
func differences(have, want jetstream.StreamConfig, ownPrefix string) []string {
	var diff diffs
	diff.check("retention", have.Retention, want.Retention)
	diff.check("storage", have.Storage, want.Storage)
	if !want.DiscardNewPerSubject { // which nothing that is stored can break
		diff.check("discard_new_per_subject", have.DiscardNewPerSubject, false)
	}
	diff.check("max_msgs_per_subject", have.MaxMsgsPerSubject, orUnlimited(want.MaxMsgsPerSubject))
	diff.check("subject_transform", have.SubjectTransform, want.SubjectTransform)
	diff.check("republish", have.RePublish, want.RePublish)
	diff.check("allow_msg_schedules", have.AllowMsgSchedules, want.AllowMsgSchedules)
	diff.check("persist_mode", have.PersistMode, want.PersistMode)
	diff.check("no_ack", have.NoAck, want.NoAck)
	diff.check("sealed", have.Sealed, want.Sealed)
	diff.check("deny_delete", have.DenyDelete, want.DenyDelete)
	diff.check("deny_purge", have.DenyPurge, want.DenyPurge)
	diff.check("mirror", have.Mirror, want.Mirror)
	diff.check("sources", have.Sources, want.Sources)
	if !ownSubjects(have.Subjects, ownPrefix) && !slices.Equal(have.Subjects, want.Subjects) {
		diff.check("subjects", have.Subjects, want.Subjects)
	}
	return diff
}

func orUnlimited(n int64) int64 {
	if n == 0 {
		return -1
	}
	return n
}

// ownSubjects reports whether all subjects lie below prefix, so that they are the bridge's to change.
func ownSubjects(subjects []string, prefix string) bool {
	if prefix == "" {
		return false
	}
	return !slices.ContainsFunc(subjects, func(s string) bool { return !strings.HasPrefix(s, prefix) })
}

func show(v any) string {
	if rv := reflect.ValueOf(v); rv.Kind() == reflect.Pointer && rv.IsNil() || rv.Kind() == reflect.Slice && rv.Len() == 0 {
		return "not set"
	}
	if s, ok := v.(fmt.Stringer); ok {
		return strings.ToLower(s.String())
	}
	var text strings.Builder
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSpace(text.String())
}
