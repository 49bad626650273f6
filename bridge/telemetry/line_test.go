package telemetry_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/klingbridge/klingbridge/bridge/telemetry"
)

func TestLineIsLogged(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	log := slog.New(slog.NewTextHandler(&out, nil)).With("a", 1)
	telemetry.Line(t.Context(), log, slog.LevelInfo, "completed", slog.String("request_id", "order-1"))
	telemetry.Line(t.Context(), log, slog.LevelDebug, "too much")
	line, ok := strings.CutPrefix(out.String(), "time=")
	if _, line, _ = strings.Cut(line, " "); !ok || line != "level=INFO msg=completed a=1 request_id=order-1\n" {
		t.Errorf("logged %q", out.String())
	}
}
