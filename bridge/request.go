package bridge

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// request is one message of the requests stream, read and checked.
type request struct {
	id          string
	token       string
	kind        kling.Kind
	priority    events.Priority
	model       string // of the path, or of model_name; empty: the body names none that a model can be called
	body        object // what is forwarded to Kling, without model, callback URL and external task id
	externalID  string // the caller's own, or empty
	slots       int    // of the pool that the task takes
	metadata    map[string]string
	replayOf    string // the request that this one replays, or empty
	requestedAt time.Time
	deadline    time.Time
	sequence    uint64 // in the requests stream
}

// rawRequest is what a message says before it is checked.
type rawRequest struct {
	kind     kling.Kind
	priority events.Priority
	header   nats.Header
	data     []byte
	sequence uint64
	storedAt time.Time
}

// Limits of a request.
const (
	maxExternalTaskID = 64       // bytes
	maxMetadata       = 16 << 10 // bytes of names and values
	// maxImages is the most that one task makes (Kling's image pages, 2026-09).
	maxImages = 9
)

var (
	// modelPattern is what a model may be called.
	modelPattern      = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	externalIDPattern = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
	allDigits         = regexp.MustCompile(`^[0-9]+$`)
)

// parseRequest reads a request. On an error, which is the caller's fault and fit to be shown to them, the returned
// request still has what a completion needs: id, token, kind, metadata and times.
func parseRequest(raw rawRequest, defaultTimeout time.Duration) (*request, error) {
	r := &request{
		kind:        raw.kind,
		priority:    raw.priority,
		slots:       1,
		metadata:    events.Metadata(raw.header),
		replayOf:    replayOf(raw.header),
		requestedAt: raw.storedAt,
		deadline:    raw.storedAt.Add(defaultTimeout),
		sequence:    raw.sequence,
	}
	body, bodyErr := parseObject(raw.data)
	if bodyErr == nil {
		bodyErr = r.readBody(body)
	}
	idErr := r.identify(raw)
	timeoutErr := r.readTimeout(raw.header)
	return r, errors.Join(idErr, timeoutErr, r.limitMetadata(), bodyErr)
}

// limitMetadata keeps records and events, which repeat the metadata, far from the server's largest message.
func (r *request) limitMetadata() error {
	size := 0
	for name, value := range r.metadata {
		size += len(name) + len(value)
	}
	if size <= maxMetadata {
		return nil
	}
	r.metadata = map[string]string{}
	return fmt.Errorf("%s* headers: want at most %d bytes of names and values, got %d", events.HeaderMetaPrefix, maxMetadata, size)
}

// identify finds the request id: header, message id, the body's own external_task_id, or one made from the message's
// place in the stream. The time is part of the latter because a stream that is made anew counts from one again.
func (r *request) identify(raw rawRequest) error {
	r.id = givenID(raw.header)
	if r.id == "" {
		r.id = r.externalID
	}
	if r.id == "" {
		r.id = fmt.Sprintf("seq-%d-%s", raw.sequence, strconv.FormatInt(raw.storedAt.UnixMilli(), 36))
	}
	given := r.id
	r.id = usableID(given)
	r.token = events.Token(r.id)
	if r.id != given {
		return fmt.Errorf("request id: want 1 to %d bytes of UTF-8, got %d bytes", events.MaxRequestID, len(given))
	}
	return nil
}

// givenID is the request id that headers name, or empty.
func givenID(h nats.Header) string {
	if id := h.Get(events.HeaderRequestID); id != "" {
		return id
	}
	return h.Get(jetstream.MsgIDHeader)
}

// usableID returns the id itself where it can be one.
func usableID(given string) string {
	if utf8.ValidString(given) && len(given) <= events.MaxRequestID {
		return given
	}
	return presentable(given)
}

// replayOf returns which request a replay says it replays. What can't be a request id is nobody's.
func replayOf(h nats.Header) string {
	id := h.Get(events.HeaderReplayOf)
	if len(id) > events.MaxRequestID || !utf8.ValidString(id) {
		return ""
	}
	return id
}

// presentable makes an id that can't be used into one that can, and keeps different ones different.
func presentable(id string) string {
	const readable = 64
	return strings.ToValidUTF8(id[:min(len(id), readable)], "_") + "-" + hash(id, 32)
}

func (r *request) readTimeout(h nats.Header) error {
	text := h.Get(events.HeaderTimeout)
	if text == "" {
		return nil
	}
	timeout, err := parseTimeout(text)
	if err != nil || timeout <= 0 {
		return fmt.Errorf("%s: want a duration such as 90s or whole seconds above zero, got %q", events.HeaderTimeout, clip(text))
	}
	r.deadline = r.requestedAt.Add(timeout)
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

// readBody takes out of the body what is not forwarded as it is.
func (r *request) readBody(body object) error {
	place := body // of callback_url and external_task_id
	if r.kind.Generation == kling.V2 {
		var err error
		if r.model, err = body.takeString("model"); err != nil {
			return err
		}
		if !modelPattern.MatchString(r.model) {
			return fmt.Errorf("model: want 1 to 64 of A-Z a-z 0-9 . _ - to name the model of %s", r.kind.Name)
		}
	}
	if r.kind.Generation.NestsOptions() {
		var err error
		if place, err = body.child("options"); err != nil {
			return err
		}
	}
	if err := r.readOwnFields(&place); err != nil {
		return err
	}
	if r.kind.Generation.NestsOptions() {
		if err := rejectCallbackURL(&body); err != nil { // Kling ignores one here in silence
			return err
		}
		body.set("options", place.encode())
	} else {
		body = place
	}
	r.body = body
	if r.kind.Generation == kling.V1 {
		r.readModelName()
	}
	r.countSlots()
	return nil
}

// readOwnFields removes callback_url and external_task_id, which the bridge sets.
func (r *request) readOwnFields(place *object) error {
	if err := rejectCallbackURL(place); err != nil {
		return err
	}
	id, err := place.takeString("external_task_id")
	switch {
	case err != nil:
		return err
	case id == "":
		return nil
	case len(id) > maxExternalTaskID:
		return fmt.Errorf("external_task_id: want at most %d bytes, got %d", maxExternalTaskID, len(id))
	case !externalIDPattern.MatchString(id):
		return errors.New("external_task_id: want only A-Z a-z 0-9 . _ -")
	case allDigits.MatchString(id):
		return errors.New("external_task_id: all digits could be taken for a task id of Kling's")
	}
	r.externalID = id
	return nil
}

func rejectCallbackURL(place *object) error {
	url, err := place.takeString("callback_url")
	if err != nil {
		return err
	}
	if url != "" {
		return errors.New("callback_url: the bridge sets its own; leave it out")
	}
	return nil
}

// countSlots reads how many slots an image task takes: one for each image, which n or series_amount tell, as a number or
// a string. A series of "auto" takes as many as Kling makes, which is known too late: it counts as the most there can be,
// so that BRIDGE_CONCURRENCY is kept. A value Kling would refuse is left for Kling to refuse.
func (r *request) countSlots() {
	if r.kind.Pool != kling.PoolImage {
		return
	}
	for _, name := range []string{"n", "series_amount"} {
		raw, _ := r.body.get(name)
		text := strings.Trim(string(raw), `"`)
		n, err := strconv.Atoi(text)
		if name == "series_amount" && text == "auto" {
			n, err = maxImages, nil
		}
		if err == nil && n > r.slots {
			r.slots = min(n, maxImages)
		}
	}
}

// readModelName reads which model an older kind's body names. It is forwarded as it is; what can't be a model is left for
// Kling to refuse.
func (r *request) readModelName() {
	var name string
	raw, ok := r.body.get("model_name")
	if ok && json.Unmarshal(raw, &name) == nil && modelPattern.MatchString(name) {
		r.model = name
	}
}

// need is what the request's task takes of its pool.
func (r *request) need() need { return need{n: r.slots, model: modelKey(r.kind, r.model)} }

// modelKey is under what name slots are counted, where Kling has limits by model. What names no model counts by kind.
func modelKey(kind kling.Kind, model string) string { return cmp.Or(model, kind.Name) }

// createBody is what is sent to Kling, in pieces: the caller's fields, and the two that the bridge sets.
func (r *request) createBody(body object, externalID, callbackURL string) [][]byte {
	own := []field{{"external_task_id", quote(externalID)}}
	if callbackURL != "" {
		own = append(own, field{"callback_url", quote(callbackURL)})
	}
	if !r.kind.Generation.NestsOptions() {
		return body.with(own).pieces()
	}
	options, err := body.child("options")
	if err != nil {
		options = object{} // readBody has stored an object there
	}
	return body.with([]field{{"options", options.with(own).encode()}}).pieces()
}

func quote(s string) json.RawMessage {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings always encode
	}
	return b
}

// clip shortens what a message quotes.
func clip(s string) string { return clipTo(s, 64) }

// clipTo shortens a text to a number of bytes.
func clipTo(s string, longest int) string {
	if len(s) <= longest {
		return s
	}
	return strings.ToValidUTF8(s[:longest], "") + "…"
}
