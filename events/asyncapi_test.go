package events_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"github.com/klingbridge/klingbridge/events"
	"github.com/klingbridge/klingbridge/events/eventstest"
)

type asyncAPI struct {
	AsyncAPI   string `yaml:"asyncapi"`
	Channels   map[string]channel
	Operations map[string]operation
	Components struct {
		Messages map[string]message
	}
}

type channel struct {
	Address    string
	Parameters map[string]struct {
		Enum []string
	}
	Messages map[string]ref
	Stream   string `yaml:"x-jetstream-stream"`
}

type operation struct {
	Action   string
	Channel  ref
	Messages []ref
	Reply    struct {
		Channel ref
	}
}

type message struct {
	Headers, Payload struct {
		SchemaFormat string `yaml:"schemaFormat"`
		Schema       ref
	}
	Examples []struct {
		Headers, Payload map[string]any
	}
}

type ref struct {
	Ref string `yaml:"$ref"`
}

func readAsyncAPI(t *testing.T) asyncAPI {
	t.Helper()
	data, err := os.ReadFile("asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc asyncAPI
	if err := yaml.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.AsyncAPI, "3.") {
		t.Fatalf("version %q, want 3", doc.AsyncAPI)
	}
	return doc
}

func TestAsyncAPIHasTheSubjects(t *testing.T) {
	t.Parallel()
	s := events.Subjects{}
	want := map[string][2]string{ // address, stream
		"request":             {s.Request("{kind}", events.PriorityNormal), s.RequestsStream()},
		"requestWithPriority": {s.Request("{kind}", "{priority}"), s.RequestsStream()},
		"progress":            {s.Progress("{kind}", "{status}", "{id}"), s.EventsStream()},
		"completion":          {s.Completion("{kind}", "{status}", "{id}"), s.EventsStream()},
		"late":                {s.Late("{kind}", "{status}", "{id}"), s.EventsStream()},
		"archived":            {s.Archived("{kind}", "{status}", "{id}"), s.EventsStream()},
		"dead":                {s.Dead("{kind}", "{status}", "{id}"), s.DeadStream()},
		"call":                {s.Call("{name}")},
		"callReply":           {}, // goes to whoever has asked
	}
	for name, e := range endpoints() {
		want[name], want[name+"Reply"] = [2]string{s.API(e)}, [2]string{}
	}
	got := map[string][2]string{}
	for name, c := range readAsyncAPI(t).Channels {
		got[name] = [2]string{c.Address, c.Stream}
		for parameter := range c.Parameters {
			if !strings.Contains(c.Address, "{"+parameter+"}") {
				t.Errorf("channel %s: parameter %s is not in its address", name, parameter)
			}
		}
		if n := strings.Count(c.Address, "{"); n != len(c.Parameters) {
			t.Errorf("channel %s: %d parameters in the address, %d described", name, n, len(c.Parameters))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("channels (-subjects +document):\n%s", diff)
	}
}

// endpoints are those of questions, by what the document calls their channels.
func endpoints() map[string]events.Endpoint {
	return map[string]events.Endpoint{
		"taskGet": events.EndpointTaskGet, "taskList": events.EndpointTaskList, "taskAgain": events.EndpointTaskAgain,
		"taskCancel": events.EndpointTaskCancel, "deadList": events.EndpointDeadList, "deadReplay": events.EndpointDeadReplay,
		"status": events.EndpointStatus,
	}
}

func TestAsyncAPIHasTheStatuses(t *testing.T) {
	t.Parallel()
	doc := readAsyncAPI(t)
	var progress, completion []string
	for _, status := range constantsOf(t, "event.go")["Status"] {
		if events.Status(status).Terminal() {
			completion = append(completion, status)
		} else {
			progress = append(progress, status)
		}
	}
	ofTask := []string{string(events.StatusSucceed), string(events.StatusFailed)}
	for name, want := range map[string][]string{
		"progress": progress, "completion": completion, "late": ofTask, "archived": ofTask,
		"dead": {string(events.StatusRejected)},
	} {
		if diff := cmp.Diff(sorted(want), sorted(doc.Channels[name].Parameters["status"].Enum)); diff != "" {
			t.Errorf("statuses of channel %s (-constants +document):\n%s", name, diff)
		}
	}
	if diff := cmp.Diff(sorted(events.Calls()), sorted(doc.Channels["call"].Parameters["name"].Enum)); diff != "" {
		t.Errorf("calls (-constants +document):\n%s", diff)
	}
	priorities := doc.Channels["requestWithPriority"].Parameters["priority"].Enum
	if diff := cmp.Diff([]string{string(events.PriorityHigh), string(events.PriorityLow)}, priorities); diff != "" {
		t.Errorf("priorities (-constants +document):\n%s", diff)
	}
}

// The header names are those of the schemas, which are held to the constants by a test of their own.
func TestAsyncAPIRefersToTheSchemas(t *testing.T) {
	t.Parallel()
	want := map[string][2]string{ // headers, payload
		"request":    {"schema/request.schema.json#/$defs/headers", "schema/request.schema.json"},
		"event":      {"schema/event.schema.json#/$defs/headers", "schema/event.schema.json"},
		"archived":   {"", "schema/archived.schema.json"},
		"deadLetter": {"schema/request.schema.json#/$defs/dead_headers", ""}, // the body need not be a request
		"call":       {"", ""},                                               // Kling's
		"callAnswer": {"", ""},
	}
	for name, e := range endpoints() {
		of := "schema/api.schema.json#/$defs/" + string(e)
		want[name+"Question"], want[name+"Answer"] = [2]string{"", of + ".question"}, [2]string{"", of}
	}
	got := map[string][2]string{}
	for name, m := range readAsyncAPI(t).Components.Messages {
		got[name] = [2]string{m.Headers.Schema.Ref, m.Payload.Schema.Ref}
		for _, ref := range got[name] {
			if ref != "" {
				eventstest.Schema(t, strings.TrimPrefix(ref, "schema/")) // which fails where there is none
			}
		}
		for _, example := range m.Examples {
			validate(t, eventstest.Schema(t, strings.TrimPrefix(m.Headers.Schema.Ref, "schema/")), example.Headers, true)
			validate(t, eventstest.Schema(t, strings.TrimPrefix(m.Payload.Schema.Ref, "schema/")), example.Payload, true)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("messages (-want +document):\n%s", diff)
	}
}

// Requests, calls and questions are received, all else is sent; each channel has one operation with its own message, or is where the reply
// of one goes.
func TestAsyncAPIHasAnOperationForEachChannel(t *testing.T) {
	t.Parallel()
	doc := readAsyncAPI(t)
	var served []string
	for name, op := range doc.Operations {
		channel := strings.TrimPrefix(op.Channel.Ref, "#/channels/")
		served = append(served, channel)
		want := "send"
		if doc.Channels[channel].Stream == (events.Subjects{}).RequestsStream() || channel == "call" || endpoints()[channel] != "" {
			want = "receive"
		}
		if reply := strings.TrimPrefix(op.Reply.Channel.Ref, "#/channels/"); reply != "" {
			served = append(served, reply)
		}
		if op.Action != want {
			t.Errorf("operation %s: action %q, want %q", name, op.Action, want)
		}
		for key, m := range doc.Channels[channel].Messages {
			wantRef := ref{"#/channels/" + channel + "/messages/" + key}
			if !slices.Equal(op.Messages, []ref{wantRef}) {
				t.Errorf("operation %s: messages %v, want %v", name, op.Messages, wantRef)
			}
			if _, ok := doc.Components.Messages[strings.TrimPrefix(m.Ref, "#/components/messages/")]; !ok {
				t.Errorf("channel %s: no message %q", channel, m.Ref)
			}
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(doc.Channels)), sorted(served)); diff != "" {
		t.Errorf("channels with operations (-channels +operations):\n%s", diff)
	}
}
