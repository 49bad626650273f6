package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// Body is what a request asks for: the JSON object that Kling documents for its create call. Package body has typed
// ones, and body.Raw takes one of any kind as JSON. What encodes itself as a [json.Marshaler] is sent as it does.
type Body interface {
	// Kind is what Kling is to make, such as [KindText2Video]. It is part of the subject.
	Kind() string
}

// Options are what a request may say beside its body. The zero value will do.
type Options struct {
	// ID names the request on all its events: 1 to 128 bytes of UTF-8 without control characters or surrounding
	// spaces. Give one that your program would give again, such as an order number, and a request sent twice is made
	// once. Empty: a new one is generated.
	ID string
	// Priority decides who goes first when requests wait for capacity. The zero value is normal.
	Priority Priority
	// Timeout ends the request as expired, counted from when it was stored. Zero: the bridge's default, 24 hours.
	Timeout time.Duration
	// Account names the account at Kling to use, as the bridge's configuration does: KLING_ACCOUNTS. Empty: any.
	Account string
	// Retries is how often a task that Kling failed, for no fault of the request, is made again, at most [MaxRetries]. Each
	// costs what Kling charges for it. Zero: the bridge's default, which is none unless BRIDGE_RETRIES says so; below zero: none.
	Retries int
	// Metadata is echoed on every event of the request. Names are as HTTP header names, values single lines.
	Metadata map[string]string
	// OnProgress is called by [Client.Do], one after the other, with what comes before the completion. Nil: nobody is told.
	OnProgress func(Event)
}

var accountName = regexp.MustCompile(`^[a-z0-9-]{1,16}$`)

// MaxRetries is the most that a request may ask for.
const MaxRetries = 5

// metaName is a token of RFC 9110, which header names are.
var metaName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

// NewRequest returns a request as the message to publish by JetStream, or an error that says what of it is wrong. The
// request id, given or generated, is its header [HeaderRequestID]. [Client.Submit] does both.
func NewRequest(s Subjects, b Body, o Options) (*nats.Msg, error) {
	if b == nil {
		return nil, errors.New("body: want one, see package body")
	}
	if o.ID == "" {
		o.ID = nuid.Next()
	}
	kind := b.Kind()
	if !IsToken(kind) {
		return nil, fmt.Errorf("kind %q: want 1 to 64 of A-Z a-z 0-9 _ -", kind)
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	data, err := encodeBody(b)
	if err != nil {
		return nil, fmt.Errorf("encode %s request: %w", kind, err)
	}
	if err := validateBody(data); err != nil {
		return nil, err
	}
	msg := nats.NewMsg(s.Request(kind, o.Priority))
	msg.Data = data
	msg.Header.Set(HeaderContentType, ContentTypeJSON)
	msg.Header.Set(HeaderRequestID, o.ID)
	msg.Header.Set(jetstream.MsgIDHeader, Token(o.ID))
	if o.Timeout > 0 {
		msg.Header.Set(HeaderTimeout, o.Timeout.String())
	}
	if o.Account != "" {
		msg.Header.Set(HeaderAccount, o.Account)
	}
	if o.Retries != 0 {
		msg.Header.Set(HeaderRetries, strconv.Itoa(max(o.Retries, 0)))
	}
	for name, value := range o.Metadata {
		msg.Header.Set(HeaderMetaPrefix+name, value)
	}
	return msg, nil
}

// encodeBody leaves what encodes itself as it is: json.Marshal would write it anew, with &, < and > escaped.
func encodeBody(b Body) ([]byte, error) {
	if m, ok := b.(json.Marshaler); ok {
		return m.MarshalJSON()
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(b)
	return bytes.TrimRight(buf.Bytes(), "\n"), err
}

func (o Options) validate() error {
	switch {
	case o.Priority != PriorityHigh && o.Priority != PriorityNormal && o.Priority != PriorityLow:
		return fmt.Errorf("priority %q: want high, low or none", o.Priority)
	case o.Timeout < 0:
		return fmt.Errorf("timeout %s: want a duration above zero, or zero for the bridge's default", o.Timeout)
	case o.Retries > MaxRetries:
		return fmt.Errorf("retries %d: want at most %d", o.Retries, MaxRetries)
	}
	if err := validateID(o.ID); err != nil {
		return err
	}
	if o.Account != "" && !accountName.MatchString(o.Account) {
		return fmt.Errorf("account %q: want 1 to 16 of a-z, 0-9 and -", o.Account)
	}
	for name, value := range o.Metadata {
		if !metaName.MatchString(name) {
			return fmt.Errorf("metadata name %q: want a header name", name)
		}
		if err := validateHeaderValue(value); err != nil {
			return fmt.Errorf("metadata %s: %w", name, err)
		}
	}
	return nil
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
