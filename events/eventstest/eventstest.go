// Package eventstest is for tests: of programs that submit requests and handle completions, beside a fake bridge with scripted
// results ([StartBridge]) or a whole system with a simulated Kling ([Start]), and of whoever publishes events, which it holds
// to the contract.
package eventstest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/klingbridge/klingbridge/events"
)

// Check fails the test unless a message, as it was stored or republished, is an event as the contract has it: body and
// headers match their JSON Schema, and subject, headers and body agree. Headers the contract does not name are let
// through; unknown fields of the body are not, so that schema and types grow with it.
func Check(tb testing.TB, subject string, h nats.Header, data []byte) {
	tb.Helper()
	subjects, parsed, ok := parse(subject)
	if !ok {
		tb.Errorf("%s: is no subject of an event", subject)
		return
	}
	c := check{TB: tb, subject: subject, parsed: parsed, header: h}
	if parsed.Type == events.TypeArchived {
		c.archived(data)
		return
	}
	c.event(subjects, data)
}

// CheckAnswer fails the test unless data answers a question to an endpoint as the contract has it.
func CheckAnswer(tb testing.TB, e events.Endpoint, data []byte) {
	tb.Helper()
	check{TB: tb, subject: string(e)}.matches("api.schema.json#/$defs/"+string(e), data)
}

// Schema compiles a JSON Schema of package events, named by its file and a part of it:
// "event.schema.json", "request.schema.json#/$defs/headers". Formats are checked.
func Schema(tb testing.TB, ref string) *jsonschema.Schema {
	tb.Helper()
	schema, err := schemas.compile(ref)
	if err != nil {
		tb.Fatal(err)
	}
	return schema
}

// schemas compiles each schema once in a process: a test checks hundreds of messages.
var schemas compiler

type compiler struct {
	mu       sync.Mutex
	compiler *jsonschema.Compiler // keeps what it has compiled; nil: no schema was asked for
	base     string               // of the addresses of all
}

func (c *compiler) compile(ref string) (*jsonschema.Schema, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.compiler == nil {
		if err := c.load(); err != nil {
			return nil, err
		}
	}
	return c.compiler.Compile(c.base + ref)
}

func (c *compiler) load() error {
	loading := jsonschema.NewCompiler()
	loading.AssertFormat()
	for _, text := range [][]byte{
		events.EventSchema(), events.RequestSchema(), events.ArchivedSchema(), events.APISchema(),
	} {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return err
		}
		id := doc.(map[string]any)["$id"].(string)
		if err := loading.AddResource(id, doc); err != nil {
			return err
		}
		c.base = id[:strings.LastIndex(id, "/")+1]
	}
	c.compiler = loading
	return nil
}

// parse takes a subject apart whatever its prefix: all but the last four tokens.
func parse(subject string) (events.Subjects, events.Parsed, bool) {
	tokens := strings.Split(subject, ".")
	if len(tokens) < 5 {
		return events.Subjects{}, events.Parsed{}, false
	}
	subjects, err := events.NewSubjects(strings.Join(tokens[:len(tokens)-4], "."))
	if err != nil {
		return events.Subjects{}, events.Parsed{}, false
	}
	parsed, ok := subjects.Parse(subject)
	return subjects, parsed, ok && parsed.Type != events.TypeDead
}

// check is one message under test.
type check struct {
	testing.TB
	subject string
	parsed  events.Parsed
	header  nats.Header
}

func (c check) archived(data []byte) {
	c.Helper()
	var body events.Archived
	c.matches("archived.schema.json", data)
	c.decode(data, &body)
	c.equal("token of request_id", events.Token(body.RequestID), c.parsed.Token)
	c.equal("kind", body.Kind, c.parsed.Kind)
}

func (c check) event(subjects events.Subjects, data []byte) {
	c.Helper()
	var ev events.Event
	c.matches("event.schema.json", data)
	c.matches("event.schema.json#/$defs/headers", c.encodeHeader())
	c.decode(data, &ev)

	c.equal("token of request_id", events.Token(ev.RequestID), c.parsed.Token)
	c.equal("kind", ev.Kind, c.parsed.Kind)
	c.equal("status", string(ev.Status), string(c.parsed.Status))
	c.checkType(ev.Status)

	id := messageID(c.parsed.Type, &ev, c.parsed.Token)
	c.equal(jetstream.MsgIDHeader, c.header.Get(jetstream.MsgIDHeader), id)
	c.equal(events.HeaderRequestID, c.header.Get(events.HeaderRequestID), ev.RequestID)
	c.equal(events.HeaderTaskID, c.header.Get(events.HeaderTaskID), ev.TaskID)
	if len(ev.Tries) > 0 {
		c.equal(events.HeaderTry, c.header.Get(events.HeaderTry), strconv.Itoa(len(ev.Tries)+1))
	}
	c.equal(events.HeaderStatus, c.header.Get(events.HeaderStatus), string(ev.Status))
	c.equal(events.HeaderSource, c.header.Get(events.HeaderSource), string(ev.Source))
	c.checkMetadata(ev.Metadata)

	attributes := cloudEvent(subjects, &ev, id)
	for name := range attributes {
		c.equal(name, c.header.Get(name), attributes.Get(name))
	}
}

// checkType holds the status to the sort of event: a late event is the end of a task.
func (c check) checkType(status events.Status) {
	c.Helper()
	want := status.Terminal()
	switch c.parsed.Type {
	case events.TypeProgress:
		want = !want
	case events.TypeLate:
		want = status == events.StatusSucceed || status == events.StatusFailed
	}
	if !want {
		c.Errorf("%s: status %q on a %s event", c.subject, status, c.parsed.Type)
	}
}

func (c check) checkMetadata(body map[string]string) {
	c.Helper()
	if header := events.Metadata(c.header); !maps.Equal(header, body) {
		c.Errorf("%s: metadata is %v in the body and %v in the headers", c.subject, body, header)
	}
}

func (c check) equal(what, got, want string) {
	c.Helper()
	if got != want {
		c.Errorf("%s: %s is %q, want %q", c.subject, what, got, want)
	}
}

func (c check) matches(ref string, data []byte) {
	c.Helper()
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		c.Errorf("%s: %v\n%s", c.subject, err, data)
		return
	}
	if err := Schema(c, ref).Validate(instance); err != nil {
		c.Errorf("%s: %v\n%s", c.subject, err, data)
	}
}

// decode refuses fields that the type does not have, and anything after the object.
func (c check) decode(data []byte, v any) {
	c.Helper()
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		c.Errorf("%s: decode %T: %v\n%s", c.subject, v, err, data)
		return
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		c.Errorf("%s: something follows the JSON object\n%s", c.subject, data)
	}
}

// encodeHeader returns the headers, each with its first value, as the schemas describe them.
func (c check) encodeHeader() []byte {
	c.Helper()
	first := map[string]string{}
	for name := range c.header {
		first[name] = c.header.Get(name)
	}
	data, err := json.Marshal(first)
	if err != nil {
		c.Fatal(err)
	}
	return data
}
