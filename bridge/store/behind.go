package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/klingbridge/klingbridge/bridge/bus"
)

// A server that does not know yet that it no longer leads a stream answers reads with what it has, which may be older than what
// the caller has got from the stream already. Such an answer proves nothing: who took it for the work of another replica would
// drop the only record of a request.

var errBehind = fmt.Errorf("%w: the answer is older than what is known already", bus.ErrUnavailable)

// Behind is the error of an answer about a request that is older than what is known already.
func Behind(token string) error { return fmt.Errorf("record of request %s: %w", token, errBehind) }

// behindIfGone takes it for such an answer that there is no message.
func behindIfGone(err error, token string) error {
	if errors.Is(err, bus.ErrNoMessage) {
		return Behind(token)
	}
	return err
}

// isNewest reports whether the record of that sequence, which the caller holds, is still the newest of its request. An answer that
// has only older ones, or none, is an error unless the request has ended, which removes its timer.
func (s *Store) isNewest(ctx context.Context, token string, seq uint64) (bool, error) {
	known, err := s.Guarded().Last(ctx, s.Subjects.StateOf(token))
	if err == nil && known.Seq >= seq {
		return known.Seq == seq, nil
	}
	if err != nil && !errors.Is(err, bus.ErrNoMessage) {
		return false, err
	}
	_, err = s.Guarded().Last(ctx, s.Subjects.CompletionOf(token))
	if errors.Is(err, bus.ErrNoMessage) {
		err = Behind(token)
	}
	return false, err
}

// stands is where a record stands among those of its request: each try waits before it is made.
func (r *Record) stands() place {
	if r.State == StateRetrying {
		return place{try: r.Try()}
	}
	return place{try: r.Try(), rank: 1}
}
