package bridge

import (
	"context"
	"errors"
	"log/slog"

	"github.com/klingbridge/klingbridge/bridge/bus"
)

// lookForPurge notices that public events were deleted by hand: a purge changes no last sequence. One event is kept in mind,
// the first that was stored after the look before, and should still be there at the next look. Whoever deletes others alone
// is not noticed.
func (w *watch) lookForPurge(ctx context.Context, seen uint64) {
	stream, events := w.subjects.EventsStream(), w.subjects.Prefix()+".>"
	if last := w.witness; last != nil && w.bus.Now().Sub(last.Time) < w.opts.EventRetention {
		m, err := w.bus.Next(ctx, stream, events, last.Seq)
		switch {
		case errors.Is(err, bus.ErrNoMessage) || err == nil && m.Seq != last.Seq:
			w.log.ErrorContext(ctx, "events were deleted by hand, and maybe what is known of requests: they are looked up before they are sent",
				slog.String("stream", stream), slog.Uint64("sequence", last.Seq), slog.String("subject", last.Subject))
			w.lostState()
			w.witness = nil
		case err != nil:
			return // which is found out by other means
		}
	}
	if m, err := w.bus.Next(ctx, stream, events, seen+1); err == nil {
		w.witness = m
	}
}

// lostState has requests looked up before they are sent, of which more was known than is now: those that wait, and repeats
// of those that were under way, for as long as these may take.
func (w *watch) lostState() {
	w.restored()
	w.suspect(w.bus.Now().Add(w.opts.TaskTimeout))
}
