package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
)

// TestTry has dev show each fate.
func TestTry(t *testing.T) {
	t.Parallel()
	environ := freePorts(t)
	environ["BRIDGE_PROBE_INTERVAL"] = "1s"
	dev := open(t, environ, "dev", "--task-time", "20ms", "--submitted-time", "5ms")
	eventually(t, "dev names it", func() bool { return strings.Contains(dev.String(), "\n  klingbridge try ") })
	got := execute(t.Context(), environ, "", "try", "--json")
	if got.code != 0 || got.stderr != "6 of 6 as expected\n" && !strings.HasSuffix(got.stderr, "\n6 of 6 as expected\n") {
		t.Errorf("exit %d: %s%s", got.code, got.stdout, got.stderr)
	}
	ends := map[string]string{}
	for line := range strings.Lines(got.stdout) {
		var one tried
		if err := json.Unmarshal([]byte(line), &one); err != nil || !one.AsExpected {
			t.Errorf("%s: %v", line, err)
		}
		ends[one.Try] = string(one.Outcome)
		if waits := one.Try == "waits" || one.Try == "is paused"; (one.WaitedFor != "") != waits {
			t.Errorf("%s waited for %q", one.Try, one.WaitedFor)
		}
	}
	for try, want := range map[string]string{
		"succeeds": "succeed", "fails": "failed", "is rejected": "rejected", "expires": "expired", "waits": "succeed", "is paused": "succeed",
	} {
		if ends[try] != want {
			t.Errorf("%s ends as %q, want %s", try, ends[try], want)
		}
	}
}

// TestTrySaysWhatIsUnexpected simulates Kling without the marks of dev's own simulation: nobody waits.
func TestTrySaysWhatIsUnexpected(t *testing.T) {
	t.Parallel()
	environ := freePorts(t)
	environ["KLING_BASE_URL"] = klingtest.Start(t, klingtest.Options{APIKeys: []string{simAPIKey}, Duration: time.Millisecond}).URL
	open(t, environ, "dev")
	got := execute(t.Context(), environ, "", "try")
	if got.code != 1 || !strings.HasSuffix(got.stderr, "4 of 6 as expected\n") || strings.Count(got.stdout, "\nUNEXPECTED ")+
		strings.Count(got.stdout[:1], "U") != 2 || strings.Count(got.stdout, "\n") != 6 {
		t.Errorf("exit %d: %s%s", got.code, got.stdout, got.stderr)
	}
}

// TestTryRefusesTheRealKling sends nothing to a bridge that does not say that its Kling is simulated.
func TestTryRefusesTheRealKling(t *testing.T) {
	t.Parallel()
	srv := bustest.Start(t)
	environ := map[string]string{"NATS_URL": srv.URL()}
	if got := execute(t.Context(), environ, "", "try"); got.code != 1 || !strings.Contains(got.stderr, "no bridge answers") {
		t.Errorf("without a bridge: %+v", got)
	}
	sim := klingtest.Start(t, klingtest.Options{APIKeys: []string{"good"}, Duration: 1})
	r := openRealm(t, srv.URL(), map[string]string{"KLING_BASE_URL": sim.URL, "NATS_USER": "", "NATS_PASSWORD": ""})
	got := execute(t.Context(), r.environ, "", "try")
	if got.code != 2 || got.stdout != "" || !strings.Contains(got.stderr, "uses the real Kling, which charges") {
		t.Errorf("got %+v", got)
	}
	if n := len(sim.Tasks()); n > 0 {
		t.Errorf("%d tasks were made", n)
	}
}
