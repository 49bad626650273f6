package store

import (
	"bytes"
	"errors"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/events"
)

// TestNoTryOfHalfABody has the beginning of a body be kept under the id of a request that is to be tried again: it is of an
// earlier request, of which all else was deleted.
func TestNoTryOfHalfABody(t *testing.T) {
	l := newLedger(t, bustest.Start(t).URL(), 1)
	r := &request.Request{ID: "order", Token: "order"}
	large := bytes.Repeat([]byte("x"), MaxExpired+1)
	if err := l.KeepUnsent(t.Context(), r, events.StatusExpired, nats.Header{}, large); err != nil {
		t.Fatal(err)
	}
	if o, err := l.Original(t.Context(), "order"); err != nil || o.Whole() || o.Bytes != len(large) || len(o.Body) != keptBeginning {
		t.Fatalf("%+v, %v", o, err)
	}
	if o, err := l.wholeOriginal(t.Context(), "order"); !errors.Is(err, bus.ErrNoMessage) {
		t.Errorf("%+v, %v; want none", o, err)
	}
	for _, keep := range []func() error{
		func() error { return l.Keep(t.Context(), r, nats.Header{}, large) },
		func() error {
			return l.KeepUnsent(t.Context(), r, events.StatusCancelled, nats.Header{}, append(large, 'x'))
		},
		func() error { return l.KeepUnsent(t.Context(), r, events.StatusExpired, nats.Header{}, large[1:]) },
	} {
		if err := keep(); err != nil {
			t.Fatal(err)
		}
		if o, err := l.wholeOriginal(t.Context(), "order"); err != nil || len(o.Body) < MaxExpired {
			t.Errorf("%+v, %v; want all of it", o, err)
		}
	}
}

// TestKeepBesideAnother keeps a request as it came beside another publish, again after a crash, and where one of the same id was
// kept before, of which all else was deleted.
func TestKeepBesideAnother(t *testing.T) {
	l := newLedger(t, bustest.Start(t).URL(), 1)
	r := &request.Request{ID: "order", Token: "order"}
	for _, body := range []string{`{"prompt":"a"}`, `{"prompt":"a"}`, `{"prompt":"b"}`} {
		kept := l.StartKeep(t.Context(), r, nats.Header{"Kling-Meta-Tenant": {"acme"}}, []byte(body))
		if err := kept(t.Context()); err != nil {
			t.Fatal(err)
		}
		if o, err := l.Original(t.Context(), "order"); err != nil || string(o.Body) != body || o.Header.Get("Kling-Meta-Tenant") != "acme" {
			t.Errorf("%+v, %v; want %s", o, err, body)
		}
	}
	state, err := l.Bus.State(t.Context(), l.Subjects.EventsStream())
	if err != nil || state.LastSeq != 2 {
		t.Errorf("%d messages were stored, want 2; %v", state.LastSeq, err)
	}
}
