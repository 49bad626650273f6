package bridge_test

import (
	"net/http"
	"testing"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/archive"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

// TestAlertsSeeTheFirst looks at series that alerts watch for a single increase: they are there, at 0, before anything
// happens. Then one file is missing at first, and another is larger than the archive takes.
func TestAlertsSeeTheFirst(t *testing.T) {
	t.Parallel()
	f := newFront(t, func(_ string, n int, w http.ResponseWriter, r *http.Request) bool {
		missing := n == 1 && r.Header.Get("User-Agent") == "klingbridge"
		if missing {
			http.NotFound(w, nil)
		}
		return missing
	})
	o := metered(t, bridge.Options{Archive: archive.Options{MaxBytes: 10_000}})
	w := start(t, setup{archive: "file://" + t.TempDir(), sim: klingtest.Options{PublicURL: f.URL}, bridge: o})
	f.serve(w.sim)
	tries := func(outcome string) string { return `kling_archive_tries_total{outcome="` + outcome + `"}` }
	w.counted(map[string]float64{
		tries("succeed"): 0, tries("failed"): 0, tries("again"): 0,
		`kling_completions_total{kind="text2video",source="bridge",status="expired"}`:     0,
		`kling_completions_total{kind="drama-subtitle",source="bridge",status="expired"}`: 0,
	})
	w.request(testRequest{Kind: "image-generations", ID: "small", Body: body(map[string]any{"prompt": "a"})})
	if status, got := w.archived("small"); status != events.StatusSucceed {
		t.Errorf("%s, %+v", status, got)
	}
	w.counted(map[string]float64{tries("succeed"): 1, tries("failed"): 0, tries("again"): 1})
	w.submit("large", "a")
	if status, got := w.archived("large"); status != events.StatusFailed {
		t.Errorf("%s, %+v", status, got)
	}
	w.counted(map[string]float64{tries("succeed"): 1, tries("failed"): 1, tries("again"): 2})
}
