package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

// The CloudEvents types of events, each followed by the status. An archived event is no second completion.
const (
	ceTypeTask     = "ai.kling.task."
	ceTypeArchived = "ai.kling.archived."
)

// setCloudEvent writes the CloudEvents attributes of an event into its headers.
func setCloudEvent(h nats.Header, s subjects.Subjects, ev *events.Event, id string) {
	h.Set(events.HeaderCESpecVersion, "1.0")
	h.Set(events.HeaderCEID, id)
	h.Set(events.HeaderCESource, "/klingbridge/"+s.Prefix())
	h.Set(events.HeaderCEType, ceTypeTask+string(ev.Status))
	h.Set(events.HeaderCESubject, percentEncode(ev.RequestID))
	h.Set(events.HeaderCETime, ev.PublishedAt.String())
	h.Set(events.HeaderCEDataContentType, events.ContentTypeJSON)
	h.Set(events.HeaderCEDataSchema, events.EventSchemaURL)
}

// percentEncode follows the CloudEvents bindings: space, ", % and all that is not printable ASCII are encoded.
func percentEncode(s string) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c > ' ' && c < 0x7f && c != '"' && c != '%' {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hexDigits[c>>4])
		b.WriteByte(hexDigits[c&0xf])
	}
	return b.String()
}

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
