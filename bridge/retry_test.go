package bridge

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
)

// TestTemporary tells what a starting bridge waits for from what it ends with.
func TestTemporary(t *testing.T) {
	t.Parallel()
	for want, errs := range map[bool][]error{
		true: {
			&jetstream.APIError{Code: 503, ErrorCode: 10008}, // no leader yet
			&jetstream.APIError{Code: 400, ErrorCode: bus.CodeNoPeers},
			&jetstream.APIError{Code: 400, ErrorCode: bus.CodeNotUnique},                 // while replicas of two versions start
			&jetstream.APIError{Code: 404, ErrorCode: jetstream.JSErrCodeStreamNotFound}, // on a server that lags behind
			bus.ErrUnavailable, context.DeadlineExceeded,
		},
		false: {
			&jetstream.APIError{Code: 400, ErrorCode: 10074}, // replicas on a server that is alone
			&bus.ConflictError{}, context.Canceled,
		},
	} {
		for _, err := range errs {
			if got := temporary(fmt.Errorf("wrapped: %w", errors.Join(err))); got != want {
				t.Errorf("%v: %v, want %v", err, got, want)
			}
		}
	}
}
