package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// Kling's calls that answer at once, as [Client.Call] takes them and as they stand in the subject.
const (
	CallIdentifyFace         = "identify-face"          // faces of a video, for KindAdvancedLipSync
	CallTTS                  = "tts"                    // speech; is paid for, and can't be asked about afterwards
	CallImageRecognize       = "image-recognize"        // parts of an image
	CallMultiElementsInit    = "multi-elements-init"    // a session for KindMultiElements
	CallMultiElementsAdd     = "multi-elements-add"     // points to its selection
	CallMultiElementsDelete  = "multi-elements-delete"  // points from it
	CallMultiElementsClear   = "multi-elements-clear"   // all points from it
	CallMultiElementsPreview = "multi-elements-preview" // a video that shows it
	CallDeleteVoices         = "delete-voices"          // a custom voice
	CallDeleteElements       = "delete-elements"        // a custom element
	CallPresetsVoices        = "presets-voices"         // Kling's own voices
	CallPresetsElements      = "presets-elements"       // Kling's own elements
	CallAccountCosts         = "account-costs"          // resource packs and what is left of them; one a second
)

// Calls lists Kling's calls that answer at once.
func Calls() []string {
	return []string{
		CallIdentifyFace, CallTTS, CallImageRecognize, CallMultiElementsInit, CallMultiElementsAdd, CallMultiElementsDelete,
		CallMultiElementsClear, CallMultiElementsPreview, CallDeleteVoices, CallDeleteElements, CallPresetsVoices,
		CallPresetsElements, CallAccountCosts,
	}
}

// Calls is the first part of every subject of [Subjects.Call].
func (s Subjects) Calls() string { return s.Prefix() + ".call" }

// Call is where a call that answers at once is asked for, by NATS request and reply. The body is that of Kling's API, or of a
// call that Kling has as a GET its query as an object; the answer is what Kling has in data. An error comes in the headers
// Nats-Service-Error-Code and Nats-Service-Error and, in parts, in those of [HeaderErrorPrefix].
func (s Subjects) Call(name string) string { return s.Calls() + "." + name }

// callTimeout bounds a call of a ctx without a deadline. A bridge gives up after BRIDGE_KLING_TIMEOUT, and later with large
// inputs.
const callTimeout = 5 * time.Minute

// CallOptions are what a call need not have.
type CallOptions struct {
	Account string // of the bridge's, to make the call with; empty: any
}

// Call makes one of Kling's calls that answer at once, such as [CallIdentifyFace], and returns what Kling has in data. body is
// the JSON object that Kling's documentation gives; nil is an empty one. The trace context in ctx travels with it.
//
// The error is [ErrNoAnswer] where no bridge runs. An [*APIError] has Kling's own in Kling. Nothing is sent twice: after an
// error that is not Retryable in there, and after the end of ctx, Kling may have done it, and be paid for it.
func (c *Client) Call(ctx context.Context, name string, body json.RawMessage, o CallOptions) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	msg := nats.NewMsg(c.subjects.Call(name))
	msg.Data = body
	msg.Header.Set(HeaderContentType, ContentTypeJSON)
	if o.Account != "" {
		msg.Header.Set(HeaderAccount, o.Account)
	}
	c.trace.Inject(ctx, HeaderCarrier(msg.Header))
	answer, err := c.nc.RequestMsgWithContext(ctx, msg)
	if errors.Is(err, nats.ErrNoResponders) {
		return nil, &noAnswer{msg.Subject}
	}
	if err != nil {
		return nil, fmt.Errorf("call on %s: %w", msg.Subject, err)
	}
	if text := answer.Header.Get(micro.ErrorCodeHeader); text != "" {
		return nil, callError(msg.Subject, text, answer.Header)
	}
	return answer.Data, nil
}

// callError is the error that an answer's headers tell.
func callError(subject, text string, h nats.Header) error {
	code, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("answer on %s: error code %q", subject, text)
	}
	number := func(name string) int {
		n, _ := strconv.Atoi(h.Get(name)) // zero where there is none
		return n
	}
	return &APIError{Code: code, Message: h.Get(micro.ErrorHeader), Kling: &Error{
		Class: ErrorClass(h.Get(HeaderErrorClass)), Code: number(HeaderErrorCode), HTTPStatus: number(HeaderErrorHTTPStatus),
		Message: h.Get(HeaderErrorMessage), Retryable: h.Get(HeaderErrorRetryable) == strconv.FormatBool(true),
	}}
}
