package events_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/micro"

	"github.com/klingbridge/klingbridge/events"
)

// answering has somebody answer every question of an endpoint.
func (b *bundle) answering(e events.Endpoint, answer func(micro.Request)) {
	b.t.Helper()
	service, err := micro.AddService(b.nc, micro.Config{Name: "klingbridge", Version: "1.0.0"})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = service.Stop() }) // the connection is closed next
	err = service.AddEndpoint("test", micro.HandlerFunc(answer), micro.WithEndpointSubject(b.subjects.API(e)))
	if err != nil {
		b.t.Fatal(err)
	}
}

func TestErrorsOfAnswers(t *testing.T) {
	t.Parallel()
	all := []error{events.ErrNotFound, events.ErrTooLate, events.ErrUnavailable, events.ErrNoAnswer}
	for code, want := range map[string]error{
		"400": nil, "404": events.ErrNotFound, "409": events.ErrTooLate, "500": events.ErrUnavailable, "503": events.ErrUnavailable,
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			b := setupEmpty(t)
			b.answering(events.EndpointTaskCancel, func(r micro.Request) { _ = r.Error(code, "because", nil) })
			err := b.client.Cancel(t.Context(), "order-42")
			for _, target := range all {
				if errors.Is(err, target) != errors.Is(want, target) {
					t.Errorf("%v is %v: %t", err, target, errors.Is(err, target))
				}
			}
			api, ok := errors.AsType[*events.APIError](err)
			if !ok || api.Message != "because" || !strings.Contains(err.Error(), code) {
				t.Errorf("got %v, want an APIError that prints code %s", err, code)
			}
		})
	}
}

func TestNoAnswerIsUnavailable(t *testing.T) {
	t.Parallel()
	b := setupEmpty(t)
	_, err := b.client.Status(t.Context())
	if !errors.Is(err, events.ErrNoAnswer) || !errors.Is(err, events.ErrUnavailable) || errors.Is(err, events.ErrNotFound) {
		t.Errorf("got %v, want ErrNoAnswer and ErrUnavailable", err)
	}
}
