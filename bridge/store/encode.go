package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

// The CloudEvents types of events, each followed by the status. An archived event is no second completion.
const (
	ceTypeTask     = "ai.kling.task."
	ceTypeArchived = "ai.kling.archived."
)

// setCloudEvent writes the CloudEvents attributes of an event into its headers.
func setCloudEvent(d *bus.Draft, s subjects.Subjects, ev *events.Event, id string) {
	d.Set(events.HeaderCESpecVersion, "1.0")
	d.Set(events.HeaderCEID, id)
	d.Set(events.HeaderCESource, ceSource(s.Prefix()))
	d.Set(events.HeaderCEType, ceType(ev.Status))
	d.Set(events.HeaderCESubject, percentEncode(ev.RequestID))
	d.Set(events.HeaderCETime, ev.PublishedAt.String())
	d.Set(events.HeaderCEDataContentType, events.ContentTypeJSON)
	d.Set(events.HeaderCEDataSchema, events.EventSchemaURL)
}

// ceSource and ceType have at hand what most events say.
func ceSource(prefix string) string {
	const source = "/klingbridge/"
	if prefix == events.DefaultPrefix {
		return source + events.DefaultPrefix
	}
	return source + prefix
}

func ceType(s events.Status) string {
	switch s {
	case events.StatusSubmitted:
		return ceTypeTask + string(events.StatusSubmitted)
	case events.StatusProcessing:
		return ceTypeTask + string(events.StatusProcessing)
	case events.StatusSucceed:
		return ceTypeTask + string(events.StatusSucceed)
	default:
		return ceTypeTask + string(s)
	}
}

// percentEncode follows the CloudEvents bindings: space, ", % and all that is not printable ASCII are encoded.
func percentEncode(s string) string {
	if !slices.ContainsFunc([]byte(s), encoded) {
		return s
	}
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if !encoded(c) {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hexDigits[c>>4])
		b.WriteByte(hexDigits[c&0xf])
	}
	return b.String()
}

func encoded(c byte) bool { return c <= ' ' || c >= 0x7f || c == '"' || c == '%' }

// encodeBody returns the body of an event as JSON, with the characters &, < and > left as they are: URLs stay readable.
func encodeBody(body any, requestID string) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(body); err != nil {
		return nil, fmt.Errorf("encode event of request %s: %w", requestID, err)
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), nil
}
