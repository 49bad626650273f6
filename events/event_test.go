package events_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/events"
)

// TestTimeIsWrittenByItsLayout holds the wire form to what package time makes of the layout.
func TestTimeIsWrittenByItsLayout(t *testing.T) {
	t.Parallel()
	east := time.FixedZone("", 5*60*60+30*60)
	for _, at := range []time.Time{
		{}, time.Unix(0, 0), time.Unix(-1, 1), time.Unix(1764500000, 999_999_999), time.Unix(1764500000, 1_000_000), time.Unix(1764500000, 20_000_000).In(east),
		time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(999, 1, 1, 0, 0, 0, 0, east),
	} {
		const layout = "2006-01-02T15:04:05.000Z"
		want := at.UTC().Format(layout)
		text, err := events.Time{Time: at}.MarshalText()
		if got := (events.Time{Time: at}).String(); got != want || string(text) != want || err != nil {
			t.Errorf("%s and %s (%v), want %s", got, text, err, want)
		}
	}
}

func TestTime(t *testing.T) {
	t.Parallel()
	var got events.Time
	if err := json.Unmarshal([]byte(`"2026-11-23T10:00:00.1234567+01:00"`), &got); err != nil {
		t.Fatal(err)
	}
	if want := "2026-11-23T09:00:00.123Z"; got.String() != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := json.Unmarshal([]byte(`"yesterday"`), &got); err == nil {
		t.Error("yesterday is no error")
	}
	data, err := json.Marshal(events.At(time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)))
	if want := `"2026-11-23T09:00:00.000Z"`; err != nil || string(data) != want {
		t.Errorf("got %s, %v; want %s", data, err, want)
	}
}

func TestErrorReadsAsOne(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]*events.Error{
		"expired: too late": {Class: events.ErrorExpired, Message: "too late"},
		"invalid: bad mode (code 1201, HTTP 400)": {
			Class: events.ErrorInvalid, Code: 1201, HTTPStatus: 400, Message: "bad mode",
		},
	} {
		if err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
	}
	wrapped := errors.Join(errors.New("no film"), &events.Error{Class: events.ErrorPolicy})
	if err, ok := errors.AsType[*events.Error](wrapped); !ok || err.Class != events.ErrorPolicy {
		t.Errorf("%v is not found in the chain", wrapped)
	}
}

func TestEventErr(t *testing.T) {
	t.Parallel()
	for _, status := range []events.Status{events.StatusSubmitted, events.StatusProcessing, events.StatusSucceed} {
		if err := event("order-42", status).Err(); err != nil {
			t.Errorf("%s: %v", status, err)
		}
	}
	for _, status := range []events.Status{events.StatusFailed, events.StatusRejected, events.StatusExpired, events.StatusCancelled} {
		err := event("order-42", status).Err()
		reason, ok := errors.AsType[*events.Error](err)
		if !ok || reason.Class != events.ErrorInvalid || reason.Code != 1201 || !strings.Contains(err.Error(), `"order-42" `+string(status)) {
			t.Errorf("%s: got %v, want the error of the event", status, err)
		}
		if _, ok := errors.AsType[*events.Error](events.Event{Status: status, Message: "no"}.Err()); !ok {
			t.Errorf("%s: an event without an error gives none", status)
		}
	}
}

func TestStatusesInJSON(t *testing.T) {
	t.Parallel()
	for text, q := range map[string]events.TaskQuery{
		`{}`:                  {},
		`{"status":"failed"}`: {Statuses: events.Statuses{events.StatusFailed}},
		`{"status":"failed,expired","limit":7}`: {
			Statuses: events.Statuses{events.StatusFailed, events.StatusExpired}, PageQuery: events.PageQuery{Limit: 7},
		},
	} {
		data, err := json.Marshal(q)
		if err != nil || string(data) != text {
			t.Errorf("got %s, %v; want %s", data, err, text)
		}
		var back events.TaskQuery
		if err := json.Unmarshal([]byte(text), &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(q, back); diff != "" {
			t.Errorf("%s decoded (-want +got):\n%s", text, diff)
		}
	}
	var spaced events.Statuses
	if err := json.Unmarshal([]byte(`" failed , expired "`), &spaced); err != nil || len(spaced) != 2 || spaced[1] != events.StatusExpired {
		t.Errorf("got %q, %v", spaced, err)
	}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	got := events.Metadata(nats.Header{
		"Kling-Meta-Tenant": {"acme", "other"}, "Kling-Meta-tenant": {"x"}, "kling-meta-Lower": {"y"}, "Kling-Meta-": {"z"},
		"Content-Type": {"application/json"},
	})
	if diff := cmp.Diff(map[string]string{"Tenant": "acme", "tenant": "x"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if events.Metadata(nil) == nil {
		t.Error("no headers give nil, want an empty map")
	}
}

func TestHeaderCarrier(t *testing.T) {
	t.Parallel()
	c := events.HeaderCarrier{"Tracestate": {"a=1"}, "tracestate": {"b=2"}, "Traceparent": {"00-…"}, "empty": {}}
	c.Set("baggage", "x=1")
	for key, want := range map[string]string{
		"tracestate": "b=2", "traceparent": "00-…", "baggage": "x=1", "empty": "", "absent": "",
	} {
		if got := c.Get(key); got != want {
			t.Errorf("Get(%s) = %q, want %q", key, got, want)
		}
	}
	if n := len(c.Keys()); n != 5 {
		t.Errorf("%d keys, want 5", n)
	}
}

// TestResultsWithoutFiles has one that was stored before results had files.
func TestResultsWithoutFiles(t *testing.T) {
	t.Parallel()
	var r events.Result
	if err := json.Unmarshal([]byte(`{"videos":[],"images":[],"audios":[],"expires_at":"2026-12-23T09:00:00.000Z"}`), &r); err != nil {
		t.Fatal(err)
	}
	if data, err := json.Marshal(r); err != nil || !strings.Contains(string(data), `"files":[]`) {
		t.Errorf("%s, %v: want an empty list of files", data, err)
	}
}
