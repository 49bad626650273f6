package eventstest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/events"
)

// Message returns an event as users get it from the bridge: subject, headers and body.
func Message(s events.Subjects, t events.Type, ev *events.Event) (*nats.Msg, error) {
	token := events.Token(ev.RequestID)
	subject, err := subjectOf(s, t, ev.Kind, ev.Status, token)
	if err != nil {
		return nil, err
	}
	id := messageID(t, ev, token)
	h := cloudEvent(s, ev, id)
	h.Set(jetstream.MsgIDHeader, id)
	h.Set(events.HeaderContentType, events.ContentTypeJSON)
	h.Set(events.HeaderRequestID, ev.RequestID)
	h.Set(events.HeaderStatus, string(ev.Status))
	h.Set(events.HeaderSource, string(ev.Source))
	for name, value := range map[string]string{
		events.HeaderTaskID: ev.TaskID, events.HeaderExternalTaskID: ev.ExternalTaskID,
	} {
		if value != "" {
			h.Set(name, value)
		}
	}
	if len(ev.Tries) > 0 {
		h.Set(events.HeaderTry, strconv.Itoa(len(ev.Tries)+1))
	}
	for name, value := range ev.Metadata {
		h.Set(events.HeaderMetaPrefix+name, value)
	}
	data, err := encode(ev)
	if err != nil {
		return nil, fmt.Errorf("encode event of request %s: %w", ev.RequestID, err)
	}
	return &nats.Msg{Subject: subject, Header: h, Data: data}, nil
}

func subjectOf(s events.Subjects, t events.Type, kind string, status events.Status, token string) (string, error) {
	switch t {
	case events.TypeProgress:
		return s.Progress(kind, status, token), nil
	case events.TypeCompletion:
		return s.Completion(kind, status, token), nil
	case events.TypeLate:
		return s.Late(kind, status, token), nil
	case events.TypeArchived:
		return s.Archived(kind, status, token), nil
	default:
		return "", fmt.Errorf("event type %q: want progress, completion, late or archived", t)
	}
}

// messageID is unique for each event that there may be of a request. Progress from the second try on has its number.
func messageID(t events.Type, ev *events.Event, token string) string {
	switch {
	case t != events.TypeProgress:
		return token + "." + string(t)
	case len(ev.Tries) > 0:
		return token + "." + string(ev.Status) + "-" + strconv.Itoa(len(ev.Tries)+1)
	default:
		return token + "." + string(ev.Status)
	}
}

// cloudEvent returns the CloudEvents attributes of an event. It is written from the specification, not shared with the
// bridge, so that [Check] would find a mistake there.
func cloudEvent(s events.Subjects, ev *events.Event, id string) nats.Header {
	h := nats.Header{}
	h.Set(events.HeaderCESpecVersion, "1.0")
	h.Set(events.HeaderCEID, id)
	h.Set(events.HeaderCESource, "/klingbridge/"+s.Prefix())
	h.Set(events.HeaderCEType, "ai.kling.task."+string(ev.Status))
	h.Set(events.HeaderCESubject, percentEncode(ev.RequestID))
	h.Set(events.HeaderCETime, ev.PublishedAt.String())
	h.Set(events.HeaderCEDataContentType, "application/json")
	h.Set(events.HeaderCEDataSchema, events.EventSchemaURL)
	return h
}

// percentEncode encodes space, ", % and all that is not printable ASCII, byte by byte.
func percentEncode(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || c == '"' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// encode leaves the characters &, < and > as they are, as the bridge does.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}
