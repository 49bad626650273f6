package telemetry

import (
	"context"
	"log/slog"
	"time"
)

// Line logs what is said of every request, and spares it the search for the place in the code that says it: handlers that add a
// source have none for it.
func Line(ctx context.Context, log *slog.Logger, level slog.Level, message string, attrs ...slog.Attr) {
	h := log.Handler()
	if !h.Enabled(ctx, level) {
		return
	}
	r := slog.NewRecord(time.Now(), level, message, 0)
	r.AddAttrs(attrs...)
	_ = h.Handle(ctx, r) // as [slog.Logger] does: there is nobody to tell
}
