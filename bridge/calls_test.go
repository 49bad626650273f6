package bridge

import (
	"errors"
	"testing"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

func TestCodesOfErrorsAreBounded(t *testing.T) {
	t.Parallel()
	for want, e := range map[string]kling.Error{
		"1303":       {Code: 1303, HTTPStatus: 429},
		"other":      {Code: 987654, HTTPStatus: 400},
		"not_found":  {NotFound: true, HTTPStatus: 200},
		"malformed":  {Err: kling.ErrMalformed, HTTPStatus: 200},
		"5xx":        {HTTPStatus: 502},
		"unanswered": {Err: errors.New("connection reset")},
	} {
		if got := codeName(&e); got != want {
			t.Errorf("%v: %s, want %s", e, got, want)
		}
	}
}
