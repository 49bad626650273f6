package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestLogOfABusyBridge reads all that a bridge logs while requests of each fate pass and results are archived. What went wrong
// is always err, and durations are spelled: 1.5s.
func TestLogOfABusyBridge(t *testing.T) {
	t.Parallel()
	environ := freePorts(t)
	environ["BRIDGE_LOG_LEVEL"], environ["BRIDGE_PROBE_INTERVAL"] = "debug", "1s"
	environ["BRIDGE_ARCHIVE_URL"] = "file://" + t.TempDir()
	environ["BRIDGE_POLL_AFTER"], environ["BRIDGE_POLL_MIN_INTERVAL"] = "1s", "1s"
	dev := open(t, environ, "dev", "--task-time", "100ms", "--submitted-time", "5ms", "--lose-callback", "0.5", "--seed", "1")
	if got := execute(t.Context(), environ, "", "try"); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	eventually(t, "results are archived", func() bool { return strings.Count(dev.String(), `"msg":"archived"`) == 3 })
	dev.stop()
	durations := []string{"wait", "took", "after", "timeout", "probe_interval"}
	seen := map[string]int{}
	for line := range strings.Lines(dev.String()) {
		var attrs map[string]any
		if json.Unmarshal([]byte(line), &attrs) != nil {
			continue // the banner
		}
		if _, other := attrs["error"]; other {
			t.Errorf("error is called otherwise than err: %s", line)
		}
		for key, value := range attrs {
			text, isText := value.(string)
			if slices.Contains(durations, key) {
				seen[key]++
				if _, err := time.ParseDuration(text); err != nil || !isText {
					t.Errorf("%s is %v in %s", key, value, line)
				}
			}
			const millisecond = 1e6 // in nanoseconds
			if n, isNumber := value.(float64); isNumber && n >= millisecond && key != "bytes" {
				t.Errorf("is %s in nanoseconds? %s", key, line)
			}
		}
		if _, failed := attrs["err"]; failed {
			seen["err"]++
		}
	}
	for _, key := range []string{"wait", "after", "timeout", "probe_interval", "err"} {
		if seen[key] == 0 {
			t.Errorf("no line has %s: %v", key, seen)
		}
	}
}
