package request

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// Request is one message of the requests stream, read and checked.
type Request struct {
	ID          string
	Token       string
	Kind        kling.Kind
	Priority    events.Priority
	Model       string // of the path, or of model_name; empty: the body names none that a model can be called
	Body        Object // what is forwarded to Kling, without model, callback URL and external task id
	ExternalID  string // the caller's own, or empty
	Account     string // at Kling, that the request demands; empty: any
	Retries     int    // how often a task that Kling failed may be made again
	Fence       string // of a further try: what proves that the bridge has put it into the stream; see [HeaderFence]
	Slots       int    // of the pool that the task takes
	Metadata    map[string]string
	ReplayOf    string // the request that this one replays, or empty
	RequestedAt time.Time
	Deadline    time.Time
	Sequence    uint64 // in the requests stream
}

// Raw is what a message says before it is checked.
type Raw struct {
	Kind     kling.Kind
	Priority events.Priority
	Header   nats.Header
	Data     []byte
	Sequence uint64
	StoredAt time.Time
}

// Defaults are for requests that say nothing themselves.
type Defaults struct {
	Timeout time.Duration // of the deadline, from when the request was stored
	Retries int
}

// HeaderFence is on requests that the bridge itself puts into the stream again, for a further try. Its value is a secret of
// the request's record: one that is not there does nothing.
const HeaderFence = "Kling-Fence"

// Limits of a request.
const (
	maxMetadata = 16 << 10 // bytes of names and values
)

// Parse reads a request. On an error, which is the caller's fault and fit to be shown to them, the returned
// request still has what a completion needs: id, token, kind, metadata and times.
func Parse(raw Raw, by Defaults) (*Request, error) {
	r := &Request{
		Kind:        raw.Kind,
		Priority:    raw.Priority,
		Account:     events.HeaderCarrier(raw.Header).Get(events.HeaderAccount),
		Retries:     by.Retries,
		Fence:       raw.Header.Get(HeaderFence),
		Slots:       1,
		Metadata:    events.Metadata(raw.Header),
		ReplayOf:    replayOf(raw.Header),
		RequestedAt: raw.StoredAt,
		Deadline:    raw.StoredAt.Add(by.Timeout),
		Sequence:    raw.Sequence,
	}
	body, bodyErr := parseObject(raw.Data)
	if bodyErr == nil {
		bodyErr = r.readBody(body)
	}
	idErr := r.identify(raw)
	timeoutErr := r.readTimeout(raw.Header)
	retriesErr := r.readRetries(raw.Header)
	return r, errors.Join(idErr, timeoutErr, retriesErr, r.limitMetadata(), bodyErr)
}

// limitMetadata keeps records and events, which repeat the metadata, far from the server's largest message.
func (r *Request) limitMetadata() error {
	size := 0
	for name, value := range r.Metadata {
		size += len(name) + len(value)
	}
	if size <= maxMetadata {
		return nil
	}
	r.Metadata = map[string]string{}
	return fmt.Errorf("%s* headers: want at most %d bytes of names and values, got %d", events.HeaderMetaPrefix, maxMetadata, size)
}

func (r *Request) readTimeout(h nats.Header) error {
	text := h.Get(events.HeaderTimeout)
	if text == "" {
		return nil
	}
	timeout, err := parseTimeout(text)
	if err != nil || timeout <= 0 {
		return fmt.Errorf("%s: want a duration such as 90s or whole seconds above zero, got %q", events.HeaderTimeout, Clip(text))
	}
	r.Deadline = r.RequestedAt.Add(timeout)
	return nil
}

func (r *Request) readRetries(h nats.Header) error {
	text := events.HeaderCarrier(h).Get(events.HeaderRetries)
	if text == "" {
		return nil
	}
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil || n > events.MaxRetries {
		return fmt.Errorf("%s: want 0 to %d, got %q", events.HeaderRetries, events.MaxRetries, Clip(text))
	}
	r.Retries = int(n)
	return nil
}

// maxTimeout keeps the deadline within what a time can hold.
const maxTimeout = 10 * 365 * 24 * time.Hour

func parseTimeout(text string) (time.Duration, error) {
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Duration(min(seconds, int64(maxTimeout/time.Second))) * time.Second, nil
	}
	d, err := time.ParseDuration(text)
	return min(d, maxTimeout), err
}

// Need is what the request's task takes of its pool.
func (r *Request) Need() Need { return Need{N: r.Slots, Model: ModelKey(r.Kind, r.Model)} }

// ModelKey is under what name slots are counted, where Kling has limits by model. What names no model counts by kind.
func ModelKey(kind kling.Kind, model string) string { return cmp.Or(model, kind.Name) }

// Need is what a task takes of its pool.
type Need struct {
	N     int // slots
	Model string
}
