package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// Request asks for one task at Kling.
type Request struct {
	// Kind is what Kling is to make: text2video, image2video, text-to-video, … It is part of the subject.
	Kind string
	// ID names the request on all its events: 1 to 128 bytes of UTF-8 without control characters or surrounding
	// spaces. Give one that your program would give again, such as an order number, and a request sent twice is made
	// once. Empty: a new one is generated.
	ID string
	// Priority decides who goes first when requests wait for capacity. The zero value is normal.
	Priority Priority
	// Timeout ends the request as expired, counted from when it was stored. Zero: the bridge's default, 24 hours.
	Timeout time.Duration
	// Metadata is echoed on every event of the request. Names are as HTTP header names, values single lines.
	Metadata map[string]string
	// Body is the JSON object that Kling documents for its create call. It is forwarded as it is, without the "model"
	// of the newer API, which names the path. See [Text2Video] and its siblings for typed bodies.
	Body json.RawMessage
}

// metaName is a token of RFC 9110, which header names are.
var metaName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

// Msg returns the request as the message to publish, or an error that says what of it is wrong. The request id, given
// or generated, is its header [HeaderRequestID].
func (r Request) Msg(s Subjects) (*nats.Msg, error) {
	if r.ID == "" {
		r.ID = nuid.Next()
	}
	if err := r.validate(); err != nil {
		return nil, err
	}
	msg := nats.NewMsg(s.Request(r.Kind, r.Priority))
	msg.Data = r.Body
	msg.Header.Set(HeaderContentType, ContentTypeJSON)
	msg.Header.Set(HeaderRequestID, r.ID)
	msg.Header.Set(jetstream.MsgIDHeader, Token(r.ID))
	if r.Timeout > 0 {
		msg.Header.Set(HeaderTimeout, r.Timeout.String())
	}
	for name, value := range r.Metadata {
		msg.Header.Set(HeaderMetaPrefix+name, value)
	}
	return msg, nil
}

func (r Request) validate() error {
	switch {
	case !IsToken(r.Kind):
		return fmt.Errorf("kind %q: want 1 to 64 of A-Z a-z 0-9 _ -", r.Kind)
	case r.Priority != PriorityHigh && r.Priority != PriorityNormal && r.Priority != PriorityLow:
		return fmt.Errorf("priority %q: want high, low or none", r.Priority)
	case r.Timeout < 0:
		return fmt.Errorf("timeout %s: want a duration above zero, or zero for the bridge's default", r.Timeout)
	}
	if err := validateID(r.ID); err != nil {
		return err
	}
	for name, value := range r.Metadata {
		if !metaName.MatchString(name) {
			return fmt.Errorf("metadata name %q: want a header name", name)
		}
		if err := validateHeaderValue(value); err != nil {
			return fmt.Errorf("metadata %s: %w", name, err)
		}
	}
	return validateBody(r.Body)
}

func validateID(id string) error {
	if id == "" || len(id) > MaxRequestID {
		return fmt.Errorf("request id %.140q: want 1 to %d bytes, got %d", id, MaxRequestID, len(id))
	}
	if err := validateHeaderValue(id); err != nil {
		return fmt.Errorf("request id %q: %w", id, err)
	}
	return nil
}

// validateHeaderValue refuses what would not come out of a header as it went in.
func validateHeaderValue(s string) error {
	switch {
	case !utf8.ValidString(s):
		return errors.New("want UTF-8")
	case strings.ContainsFunc(s, unicode.IsControl):
		return errors.New("want no control characters")
	case strings.Trim(s, " ") != s:
		return errors.New("want no space at either end")
	default:
		return nil
	}
}

func validateBody(body []byte) error {
	if !utf8.Valid(body) || !json.Valid(body) || !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) {
		return errors.New("body: want a JSON object in UTF-8")
	}
	return nil
}
