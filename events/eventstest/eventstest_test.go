package eventstest_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/events"
	"github.com/klingbridge/klingbridge/events/eventstest"
)

// recorder takes down failures instead of failing.
type recorder struct {
	testing.TB
	failures []string
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

// published is an event as the bridge publishes it.
type published struct {
	subject string
	header  nats.Header
	data    []byte
}

func publish(t *testing.T, prefix string, eventType events.Type, status events.Status) published {
	t.Helper()
	s, err := events.NewSubjects(prefix)
	if err != nil {
		t.Fatal(err)
	}
	at := events.At(time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC))
	ev := events.Event{
		RequestID: "Bestellung Nr. 1", Kind: "text2video", Status: status, Source: events.SourcePoll, TaskID: "871",
		RequestedAt: at, PublishedAt: at, Metadata: map[string]string{"Tenant": "acme"},
	}
	if status.Terminal() {
		ev.CompletedAt = &at
		ev.Error = &events.Error{Class: events.ErrorKling, Message: "no"}
	}
	msg, err := eventstest.Message(s, eventType, &ev)
	if err != nil {
		t.Fatal(err)
	}
	msg.Header.Set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	msg.Header.Set("Nats-Sequence", "7") // as republished
	return published{subject: msg.Subject, header: msg.Header, data: msg.Data}
}

func TestCheckPassesWhatIsRight(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]published{
		"progress":       publish(t, "", events.TypeProgress, events.StatusProcessing),
		"completion":     publish(t, "", events.TypeCompletion, events.StatusFailed),
		"late":           publish(t, "", events.TypeLate, events.StatusFailed),
		"another prefix": publish(t, "acme.film", events.TypeCompletion, events.StatusFailed),
		"archived": {
			subject: "kling.archived.text2video.succeed.order-42",
			data:    []byte(`{"request_id":"order-42","kind":"text2video","files":[]}`),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eventstest.Check(t, p.subject, p.header, p.data)
		})
	}
}

func TestCheckFailsWhatIsWrong(t *testing.T) {
	t.Parallel()
	set := func(name, value string) func(*published) {
		return func(p *published) { p.header.Set(name, value) }
	}
	remove := func(name string) func(*published) {
		return func(p *published) { p.header.Del(name) }
	}
	replace := func(old, with string) func(*published) {
		return func(p *published) { p.data = bytes.Replace(p.data, []byte(old), []byte(with), 1) }
	}
	subject := func(old, with string) func(*published) {
		return func(p *published) { p.subject = strings.Replace(p.subject, old, with, 1) }
	}
	for name, tt := range map[string]struct {
		spoil func(*published)
		want  string // in a failure
	}{
		"no event's subject":       {subject("completion", "dead"), "no subject"},
		"short subject":            {func(p *published) { p.subject = "kling.completion" }, "no subject"},
		"private subject":          {subject("kling.", "kling-put.kling."), "ce-source"},
		"another token":            {func(p *published) { p.subject += "x" }, "token"},
		"another kind":             {subject("text2video", "effects"), "kind"},
		"another status":           {subject("failed", "expired"), "status"},
		"an end as progress":       {subject("completion", "progress"), `status "failed" on a progress event`},
		"no message id":            {remove("Nats-Msg-Id"), "Nats-Msg-Id"},
		"message id of another":    {set("Nats-Msg-Id", "order-42.completion"), "Nats-Msg-Id"},
		"no request id":            {remove("Kling-Request-Id"), "Kling-Request-Id"},
		"no task id":               {remove("Kling-Task-Id"), "Kling-Task-Id"},
		"another header status":    {set("Kling-Status", "succeed"), "Kling-Status"},
		"another header source":    {set("Kling-Source", "bridge"), "Kling-Source"},
		"another content type":     {set("Content-Type", "text/plain"), "Content-Type"},
		"no CloudEvents type":      {remove("ce-type"), "ce-type"},
		"another CloudEvents time": {set("ce-time", "2026-11-23T09:00:00.001Z"), "ce-time"},
		"no CloudEvents schema":    {remove("ce-dataschema"), "ce-dataschema"},
		"no CloudEvents content":   {remove("ce-datacontenttype"), "ce-datacontenttype"},
		"CloudEvents subject":      {set("ce-subject", "Bestellung Nr. 1"), "ce-subject"},
		"another trace":            {set("traceparent", "00-xyz"), "traceparent"},
		"metadata not in headers":  {remove("Kling-Meta-Tenant"), "metadata"},
		"metadata not in the body": {set("Kling-Meta-More", "x"), "metadata"},
		"body that is no JSON":     {func(p *published) { p.data = []byte("{") }, "EOF"},
		"body against the schema":  {replace(`"code":0`, `"code":"0"`), "code"},
		"unknown field":            {replace(`"code":0`, `"code":0,"cod":0`), `unknown field "cod"`},
		"more than one value":      {func(p *published) { p.data = append(p.data, "{}"...) }, "follows"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := publish(t, "", events.TypeCompletion, events.StatusFailed)
			tt.spoil(&p)
			r := &recorder{TB: t}
			eventstest.Check(r, p.subject, p.header, p.data)
			if all := strings.Join(r.failures, "\n"); !strings.Contains(all, tt.want) {
				t.Errorf("failures %q, want one about %q", all, tt.want)
			}
		})
	}
}

func TestCheckFailsWrongArchives(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"request_id":"order-43","kind":"text2video","files":[]}`:           "token",
		`{"request_id":"order-42","kind":"effects","files":[]}`:              "kind",
		`{"request_id":"order-42","kind":"text2video"}`:                      "files",
		`{"request_id":"order-42","kind":"text2video","files":[],"extra":1}`: "extra",
	} {
		r := &recorder{TB: t}
		eventstest.Check(r, "kling.archived.text2video.succeed.order-42", nil, []byte(body))
		if all := strings.Join(r.failures, "\n"); !strings.Contains(all, want) {
			t.Errorf("failures %q, want one about %q", all, want)
		}
	}
}
