package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestDoctorBesideDev asks, without an account, about the bridge that dev runs, before and after it has done something.
func TestDoctorBesideDev(t *testing.T) {
	t.Parallel()
	environ := freePorts(t)
	open(t, environ, "dev", "--task-time", "50ms", "--submitted-time", "10ms")
	if got := execute(t.Context(), environ, "", "submit", "text2video", "--prompt", "a", "--wait"); got.code != 0 {
		t.Fatalf("exit %d: %s", got.code, got.stderr)
	}
	got := execute(t.Context(), environ, "", "doctor")
	if got.code != 0 || got.complaints() != "" || !strings.HasSuffix(got.stdout, "\nfaults: 0, warnings: 0\n") {
		t.Errorf("exit %d:\n%s%s", got.code, got.stdout, got.stderr)
	}
	for _, want := range []string{
		"note     configuration  no account is set, and the bridge that runs here simulates Kling → set KLING_API_KEY, ",
		", embedded in a bridge that runs\n",
		"note     kling          simulated by the bridge that runs here: there is no account to ask\n",
		"note     clock          the simulated Kling goes by this machine's\n",
		"ok       public url     http://" + environ["BRIDGE_CALLBACK_ADDR"] + ", by default, reaches a bridge of this system",
		"ok       bridge         1 replica runs, version (devel), with a simulated Kling\n",
		"ok       listeners      taken on this machine: " + environ["BRIDGE_CALLBACK_ADDR"] + " (BRIDGE_CALLBACK_ADDR), " +
			environ["BRIDGE_ADMIN_ADDR"] + " (BRIDGE_ADMIN_ADDR), by the bridge that runs here\n",
		"ok       callbacks      of the last 1 result 1 came by callback and 0 by poll",
	} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("does not say %q:\n%s", want, got.stdout)
		}
	}
	for _, confusing := range []string{"skipped", "mended", "Kling's console", "every task is polled", "there are no callbacks"} {
		if strings.Contains(got.stdout, confusing) {
			t.Errorf("says %q:\n%s", confusing, got.stdout)
		}
	}

	environ["KLING_API_KEY"] = "key"
	environ["KLING_BASE_URL"] = "http://" + nowhere
	if got := execute(t.Context(), environ, "", "doctor"); got.code != 1 || !strings.Contains(got.stdout, "fault    kling          http://"+nowhere) {
		t.Errorf("an account is set, and yet it is not looked at: exit %d:\n%s", got.code, got.stdout)
	}
}

// TestDoctorSeesWhatIsInTheWay has something else listen where the bridge would: to start one fails, and says nothing of what
// is there.
func TestDoctorSeesWhatIsInTheWay(t *testing.T) {
	t.Parallel()
	stranger := httptest.NewServer(http.NotFoundHandler())
	defer stranger.Close()
	taken := stranger.Listener.Addr().String()
	environ := freePorts(t)
	environ["BRIDGE_ADMIN_ADDR"] = taken
	says := []string{
		"ok       listeners      free on this machine: " + environ["BRIDGE_CALLBACK_ADDR"] + "\n",
		"warning  listeners      taken on this machine: " + taken + " (BRIDGE_ADMIN_ADDR), by no bridge → a bridge can't start here: set ",
	}
	got := execute(t.Context(), environ, "", "doctor")
	for _, want := range says {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("does not say %q:\n%s", want, got.stdout)
		}
	}

	elsewhere := freePorts(t)
	open(t, elsewhere, "dev")
	environ["NATS_URL"] = "nats://" + elsewhere["BRIDGE_EMBEDDED_ADDR"]
	got = execute(t.Context(), environ, "", "doctor")
	if want := "note     listeners      taken on this machine: " + taken; !strings.Contains(got.stdout, want) {
		t.Errorf("a bridge runs elsewhere: does not say %q:\n%s", want, got.stdout)
	}
}
