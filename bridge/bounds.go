package bridge

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
)

// StreamSizes bounds what the streams hold, and the bucket of an archive, in bytes each. Zero: no bound; where the
// account demands one, a default.
type StreamSizes struct {
	Requests, Events, Dead, Settings int64
	Archive                          int64 // has no default
}

// demandedSizes are taken where the account wants every stream to have a size and none is given.
var demandedSizes = StreamSizes{Requests: 256 << 20, Events: 4 << 30, Dead: 256 << 20, Settings: 1 << 20}

// orDemanded fills in what is not given.
func (s StreamSizes) orDemanded() StreamSizes {
	orDefault(&s.Requests, demandedSizes.Requests)
	orDefault(&s.Events, demandedSizes.Events)
	orDefault(&s.Dead, demandedSizes.Dead)
	orDefault(&s.Settings, demandedSizes.Settings)
	return s
}

// String writes the sizes as BRIDGE_STREAM_MAX_BYTES has them.
func (s StreamSizes) String() string {
	var list []string
	for _, size := range []struct {
		name  string
		bytes int64
	}{{"requests", s.Requests}, {"events", s.Events}, {"dead", s.Dead}, {"settings", s.Settings}, {"archive", s.Archive}} {
		if size.bytes > 0 {
			list = append(list, size.name+"="+strings.ReplaceAll(showBytes(size.bytes), " ", ""))
		}
	}
	return strings.Join(list, ",")
}

// sized bounds a stream. One that drops its oldest when it is full is right for dead letters alone: an old request is
// somebody's, and an old event guards against a second one. The server lets events do nothing else, so the bridge keeps
// them from getting full ([bus.Bus.KeepRoom]).
func sized(config jetstream.StreamConfig, bytes int64, full jetstream.DiscardPolicy) jetstream.StreamConfig {
	if bytes > 0 {
		config.MaxBytes, config.Discard = bytes, full
	}
	return config
}

// bounds lists the limits on an existing stream by which it loses what must stay, or refuses what may go.
func (w wantedStream) bounds(have jetstream.StreamConfig) []string {
	bad, want := jetstream.DiscardOld, "no limit or discard new"
	switch {
	case !w.keeps:
		bad, want = jetstream.DiscardNew, "no limit or discard old"
	case w.config.AllowMsgSchedules: // which can't go with discard new
		want = "no limit"
	}
	if have.Discard != bad || have.DiscardNewPerSubject {
		return nil
	}
	var bounds []string
	if have.MaxMsgs > 0 {
		bounds = append(bounds, fmt.Sprintf("max_msgs is %d with discard %s, want %s", have.MaxMsgs, discardName(bad), want))
	}
	if have.MaxBytes > 0 && !w.keepsRoom() {
		bounds = append(bounds, fmt.Sprintf("max_bytes is %d with discard %s, want %s", have.MaxBytes, discardName(bad), want))
	}
	return bounds
}

// keepsRoom reports whether the bridge itself keeps the stream from getting full, for the server can't.
func (w wantedStream) keepsRoom() bool { return w.config.AllowMsgSchedules && w.config.MaxBytes > 0 }

// changes reports whether a size, and what happens when it is reached, is the bridge's to change.
func (w wantedStream) changes() bool { return w.config.MaxBytes > 0 && !w.config.AllowMsgSchedules }

// tooYoung tells of an age at which an existing stream drops what must stay. At the start it is the bridge's to change.
func (w wantedStream) tooYoung(have jetstream.StreamConfig) []string {
	if !w.keeps || have.MaxAge <= 0 || w.config.MaxAge > 0 && have.MaxAge >= w.config.MaxAge {
		return nil
	}
	want := "none"
	if w.config.MaxAge > 0 {
		want = w.config.MaxAge.String()
	}
	return []string{fmt.Sprintf("max_age is %s, want %s", have.MaxAge, want)}
}

func discardName(p jetstream.DiscardPolicy) string {
	if p == jetstream.DiscardNew {
		return "new"
	}
	return "old"
}

// StreamState is how a stream compares with what a bridge with the same options would make of it.
type StreamState struct {
	Name     string
	Subjects []string // as they should be
	Replicas int      // as they are; 0 where the stream is missing
	Updates  []string // what the bridge would change, a line for each setting
	Bounds   []string // limits that lose what must stay, a line for each; they are in Err too
	// Drift is what loses what must stay too, but is the bridge's to change when it starts: while it runs somebody may mean it.
	Drift []string
	// Err is nil for a stream that is in order, else a [*bus.ConflictError], [jetstream.ErrStreamNotFound] (wrapped) or why
	// the stream could not be read.
	Err error

	have, want jetstream.StreamConfig
}

// exists reports whether there is a stream of that name, whatever it is like.
func (s StreamState) exists() bool { return s.have.Name != "" }

// CompareStreams tells of each stream what the bridge would do with it, and changes nothing.
func CompareStreams(ctx context.Context, b *bus.Bus, o Options) []StreamState {
	o = o.withDefaults()
	var states []StreamState
	for _, want := range wantedStreams(o, b.MaxPayload()) {
		states = append(states, compare(ctx, b, want))
	}
	return states
}

func compare(ctx context.Context, b *bus.Bus, want wantedStream) StreamState {
	have, updates, err := b.CompareStream(ctx, want.config, want.prefix)
	s := StreamState{
		Name: want.config.Name, Subjects: want.config.Subjects, Replicas: have.Replicas, Updates: updates, Err: err,
		have: have, want: want.config,
	}
	if !want.changes() {
		s.Bounds = want.bounds(have)
	}
	if want.keepsRoom() && s.exists() && have.MaxBytes != want.config.MaxBytes {
		s.Bounds = append(s.Bounds, tooMuch(ctx, b, want.config)...)
	}
	if s.exists() {
		s.Drift = append(want.bounds(have), want.tooYoung(have)...)
	}
	if len(s.Bounds) > 0 {
		conflict, ok := errors.AsType[*bus.ConflictError](err)
		if !ok {
			conflict = &bus.ConflictError{Stream: s.Name}
		}
		s.Err = &bus.ConflictError{Stream: s.Name, Differences: append(conflict.Differences, s.Bounds...)}
	}
	return s
}

// tooMuch tells of a stream that holds more than it is to hold from now on: the server would drop the oldest at once.
func tooMuch(ctx context.Context, b *bus.Bus, want jetstream.StreamConfig) []string {
	state, err := b.State(ctx, want.Name)
	if err != nil || int64(state.Bytes) <= want.MaxBytes {
		return nil
	}
	return []string{fmt.Sprintf("holds %s, want %s at most (BRIDGE_STREAM_MAX_BYTES): the oldest would be dropped",
		showBytes(int64(state.Bytes)), showBytes(want.MaxBytes))}
}
