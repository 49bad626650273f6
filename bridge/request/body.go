package request

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

const (
	maxExternalTaskID = 64 // bytes
	// MaxImages is the most that one task makes (Kling's image pages, 2026-09).
	MaxImages = 9
)

var (
	externalIDPattern = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
	allDigits         = regexp.MustCompile(`^[0-9]+$`)
)

// readBody takes out of the body what is not forwarded as it is.
func (r *Request) readBody(body Object) error {
	place := body // of callback_url and external_task_id
	if r.Kind.Generation == kling.V2 {
		var err error
		if r.Model, err = body.takeString("model"); err != nil {
			return err
		}
		if !IsModel(r.Model) {
			return fmt.Errorf("model: want 1 to 64 of A-Z a-z 0-9 . _ - to name the model of %s", r.Kind.Name)
		}
	}
	if r.Kind.Generation.NestsOptions() {
		var err error
		if place, err = body.child("options"); err != nil {
			return err
		}
	}
	if err := r.readOwnFields(&place); err != nil {
		return err
	}
	if r.Kind.Generation.NestsOptions() {
		if err := rejectCallbackURL(&body); err != nil { // Kling ignores one here in silence
			return err
		}
		body.set("options", place.encode())
	} else {
		body = place
	}
	r.Body = body
	if r.Kind.Generation == kling.V1 {
		r.readModelName()
	}
	r.countSlots()
	return nil
}

// IsModel reports whether a model may be called so. It is asked about every request.
func IsModel(name string) bool {
	const longest = 64
	if len(name) == 0 || len(name) > longest {
		return false
	}
	for i := range len(name) {
		if !isModelByte(name[i]) {
			return false
		}
	}
	return true
}

func isModelByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	default:
		return c == '.' || c == '_' || c == '-'
	}
}

// readOwnFields removes callback_url and external_task_id, which the bridge sets.
func (r *Request) readOwnFields(place *Object) error {
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
	r.ExternalID = id
	return nil
}

func rejectCallbackURL(place *Object) error {
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
func (r *Request) countSlots() {
	if r.Kind.Pool != kling.PoolImage {
		return
	}
	for _, name := range []string{"n", "series_amount"} {
		raw, _ := r.Body.get(name)
		text := strings.Trim(string(raw), `"`)
		n, err := strconv.Atoi(text)
		if name == "series_amount" && text == "auto" {
			n, err = MaxImages, nil
		}
		if err == nil && n > r.Slots {
			r.Slots = min(n, MaxImages)
		}
	}
}

// readModelName reads which model an older kind's body names. It is forwarded as it is; what can't be a model is left for
// Kling to refuse.
func (r *Request) readModelName() {
	raw, _ := r.Body.get("model_name")
	name, ok := plainString(raw) // that of a model needs no escapes, but may be spelled with some
	if !ok && json.Unmarshal(raw, &name) != nil {
		return
	}
	if IsModel(name) {
		r.Model = name
	}
}

// CreateBody is what is sent to Kling, in pieces: the caller's fields, and the two that the bridge sets.
func (r *Request) CreateBody(body Object, externalID, callbackURL string) [][]byte {
	own := []field{{"external_task_id", quote(externalID)}}
	if callbackURL != "" {
		own = append(own, field{"callback_url", quote(callbackURL)})
	}
	if !r.Kind.Generation.NestsOptions() {
		return body.with(own).pieces()
	}
	options, err := body.child("options")
	if err != nil {
		options = Object{} // readBody has stored an object there
	}
	return body.with([]field{{"options", options.with(own).encode()}}).pieces()
}

func quote(s string) json.RawMessage {
	if plainText(s) {
		return appendPlain(make([]byte, 0, len(s)+len(`""`)), s)
	}
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings always encode
	}
	return b
}
