package callback

import (
	"bytes"
	"errors"
	"io"
	"net/http"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

const (

	// MaxCallbackBytes bounds the body of a callback.
	MaxCallbackBytes = 256 << 10
)

// readCallback reads a body within its limits of size and, by the server's read timeout, of time.
func readCallback(w http.ResponseWriter, r *http.Request) ([]byte, outcome) {
	if isCompressed(r) {
		return nil, outcomeCompressed
	}
	if n := r.ContentLength; n >= 0 && n <= usualCallback { // then the server lets no more through
		body := make([]byte, n)
		if _, err := io.ReadFull(r.Body, body); err != nil {
			return nil, outcomeTooSlow
		}
		return body, outcomeTaken
	}
	var body bytes.Buffer
	body.Grow(int(min(max(r.ContentLength, 0), usualCallback)) + bytes.MinRead)
	_, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, MaxCallbackBytes))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, outcomeTooLarge
	}
	if err != nil {
		return nil, outcomeTooSlow
	}
	return body.Bytes(), outcomeTaken
}

// usualCallback is what a caller's word for the length of a body is taken for, in bytes.
const usualCallback = 8 << 10

// decode reads what a body says.
func decode(body []byte) (kling.Task, outcome, error) {
	task, err := kling.DecodeCallback(body)
	switch {
	case errors.Is(err, kling.ErrAmbiguous):
		return task, outcomeContradicting, err
	case err != nil:
		return task, outcomeMalformed, err
	default:
		return task, outcomeTaken, nil
	}
}
