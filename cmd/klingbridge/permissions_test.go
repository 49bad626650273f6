package main

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/doctor"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
)

// listedPermissions is the page's block for the user of the bridge, as the server's configuration has it.
func listedPermissions(t *testing.T) string {
	t.Helper()
	readme, err := os.ReadFile("../../deployments/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, begins := strings.Cut(string(readme), "<!-- permissions:begin -->\n```\n")
	block, _, ends := strings.Cut(rest, "```\n<!-- permissions:end -->")
	if !begins || !ends {
		t.Fatal("the page has no permissions")
	}
	return block
}

// withPermissions is a server where the bridge has these, and admin may do everything in the same account.
func withPermissions(block string) string {
	return `jetstream: {}
	accounts: {A: {jetstream: enabled, users: [
		{user: bridge, password: bridge, ` + block + `}
		{user: admin, password: admin}
	]}}`
}

// userOf returns a user of a server's configuration.
func userOf(t *testing.T, o *server.Options, name string) *server.User {
	t.Helper()
	i := slices.IndexFunc(o.Users, func(u *server.User) bool { return u.Username == name })
	if i < 0 {
		t.Fatalf("there is no user %s", name)
	}
	return o.Users[i]
}

// TestPermissionsAreListedOnce holds the page to the accounts that are deployed. Those of an archive are a comment there.
func TestPermissionsAreListedOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "server.conf")
	if err := os.WriteFile(path, []byte(withPermissions(listedPermissions(t))), 0o600); err != nil {
		t.Fatal(err)
	}
	parsed, err := server.ProcessConfigFile(path)
	if err != nil {
		t.Fatal(err)
	}
	listed, used := userOf(t, parsed, "bridge").Permissions, userOf(t, deployed(t, "server.conf", nil), "bridge").Permissions
	archive := func(s string) bool { return strings.Contains(s, "kling-results") }
	for name, lists := range map[string][2][]string{
		"publish":   {slices.DeleteFunc(listed.Publish.Allow, archive), used.Publish.Allow},
		"subscribe": {listed.Subscribe.Allow, used.Subscribe.Allow},
	} {
		slices.Sort(lists[0])
		slices.Sort(lists[1])
		if !slices.Equal(lists[0], lists[1]) {
			t.Errorf("%s: the page lists %q, accounts.conf %q", name, lists[0], lists[1])
		}
	}
	if *listed.Response != *used.Response {
		t.Errorf("responses: the page lists %+v, accounts.conf %+v", listed.Response, used.Response)
	}
}

// permitted runs a bridge with these permissions, and an archive if there is one, and a Kling with one slot for videos, where
// "long" takes an hour.
func permitted(t *testing.T, block, archive string) (srv *bustest.Server, r *realm) {
	t.Helper()
	return permittedBy(t, withPermissions(block), archive)
}

// permittedBy is permitted with the server's whole configuration.
func permittedBy(t *testing.T, config, archive string) (srv *bustest.Server, r *realm) {
	t.Helper()
	sim := klingtest.Start(t, klingtest.Options{
		APIKeys: []string{"good"}, Slots: map[kling.Pool]int{kling.PoolVideo: 1},
		DurationOf: func(task klingtest.TaskView) time.Duration {
			if task.Prompt == "long" {
				return time.Hour
			}
			return time.Millisecond
		},
	})
	host, err := url.Parse(sim.URL)
	if err != nil {
		t.Fatal(err)
	}
	srv = bustest.Start(t, bustest.Config(t, config))
	r = openRealm(t, srv.URL(), map[string]string{
		"KLING_BASE_URL": sim.URL, "BRIDGE_ARCHIVE_URL": archive, "BRIDGE_ARCHIVE_ALLOW_HOSTS": host.Host, "BRIDGE_ACK_WAIT": "2s",
	})
	return srv, r
}

// asAdmin runs a command with the bridge's environment as the user who may do everything.
func (r *realm) asAdmin(line string) outcome {
	r.t.Helper()
	environ := maps.Clone(r.environ)
	environ["NATS_USER"], environ["NATS_PASSWORD"] = "admin", "admin"
	return execute(r.t.Context(), environ, "", strings.Fields(line)...)
}

// held counts the subjects of a stream that match filter.
func held(t *testing.T, js jetstream.JetStream, stream, filter string) int {
	t.Helper()
	s, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context(), jetstream.WithSubjectFilter(filter))
	if err != nil {
		t.Fatal(err)
	}
	return len(info.State.Subjects)
}

// ready asks the bridge whether it is.
func (r *realm) ready() (status int, body string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, "http://"+r.environ["BRIDGE_ADMIN_ADDR"]+"/readyz", http.NoBody)
	if err != nil {
		r.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}

// diagnose runs doctor with the bridge's environment.
func (r *realm) diagnose() (d diagnosis) {
	r.t.Helper()
	got := execute(r.t.Context(), r.environ, "", "doctor", "--json")
	if err := json.Unmarshal([]byte(got.stdout), &d); err != nil {
		r.t.Fatalf("%v: %s", err, got.stderr)
	}
	return d
}

// TestListedPermissionsSuffice has a bridge do all that it does under the permissions of the page. Recorded: with those of
// an earlier one completions came, requests stayed in the queue for ever, and it was ready.
func TestListedPermissionsSuffice(t *testing.T) {
	t.Parallel()
	_, r := permitted(t, listedPermissions(t), "nats://kling-results")
	for _, step := range []struct {
		line string
		code int
		says string
	}{
		{"submit text2video --prompt short --id one --wait", 0, "http"},
		{"submit image-generations --prompt [policy] --id dead --wait", 1, ""},
		{"submit text2video --prompt long --id long", 0, "long"},
		{"submit text2video --prompt short --id waits", 0, "waits"},
		{"task get one", 0, "succeed"},
		{"task list", 0, "waits"},
		{"task cancel waits", 0, "cancelled"},
		{"dead list", 0, "dead"},
		{"dead replay dead", 0, "dead-r1"},
		{"status", 0, "ready"},
		{"call presets-voices", 0, "simulated-voice"},
	} {
		var got outcome
		if !strings.HasPrefix(step.line, "task cancel") {
			got = r.asAdmin(step.line)
		} else { // a full pool is tried with one more now and then
			eventually(t, "the request is not being sent", func() bool {
				got = r.asAdmin(step.line)
				return !strings.Contains(got.stderr, "being sent")
			})
		}
		if got.code != step.code || !strings.Contains(got.stdout, step.says) {
			t.Errorf("%s: exit %d\n%s%s", step.line, got.code, got.stdout, got.stderr)
		}
	}
	js := r.jetStream("admin")
	eventually(t, "the replay has ended", func() bool { return held(t, js, "KLING_EVENTS", "kling.completion.*.rejected.dead-r1") == 1 })
	eventually(t, "the result is archived", func() bool { return held(t, js, "KLING_EVENTS", "kling.archived.*.succeed.one") == 1 })
	eventually(t, "no request is left", func() bool { return held(t, js, "KLING_REQUESTS", "kling.request.>") == 0 })

	d := r.diagnose()
	if f, ok := d.find("permissions", "may do all that a bridge does"); !ok || f.Level != doctor.OK || d.Faults > 0 {
		t.Errorf("doctor: %+v", d)
	}
	r.bridge.stop()
	r.environ["BRIDGE_EXTRA_KINDS"] = "effects=/v1/videos/effects:image,text-to-video=/text-to-video/{model}:image"
	again := open(t, r.environ, "serve") // its consumers are narrowed and deleted
	for _, log := range []string{r.bridge.String(), again.String()} {
		if strings.Contains(log, "ermissions") {
			t.Errorf("something is denied:\n%s", log)
		}
	}
}

// TestMissingPermissionIsAReason takes away what a user may have forgotten, and gives it back, while the bridge runs.
func TestMissingPermissionIsAReason(t *testing.T) {
	t.Parallel()
	listed := listedPermissions(t)
	// A user who may answer whatever it gets may ack once, too.
	answering := strings.NewReplacer(`allow_responses: {max: 1, expires: "5m"}`, "", `"$JS.FC.>"`, `"_INBOX.>"`).Replace(listed)
	for says, missing := range map[string]string{
		`Permissions Violation for Publish to \"$JS.ACK.KLING_REQUESTS.`: strings.Replace(answering, `"$JS.ACK.>", `, "", 1),
		`Permissions Violation for Subscription to \"kling-state.slots.`: strings.Replace(listed, "\"kling-state.slots.*\"\n", "\n", 1),
	} {
		t.Run(says, func(t *testing.T) {
			t.Parallel()
			srv, r := permitted(t, listed, "")
			srv.Reload(bustest.Config(t, withPermissions(missing)))
			if got := r.asAdmin("submit text2video --prompt short --id one --wait"); got.code != 0 {
				t.Errorf("submit: %s", got.stderr)
			}
			eventually(t, "the bridge says what is missing", func() bool {
				status, body := r.ready()
				return status == http.StatusServiceUnavailable && strings.Contains(body, says)
			})
			d := r.diagnose()
			if f, ok := d.find("permissions", "this user may not "); !ok || f.Level != doctor.Fault {
				t.Errorf("doctor does not say what is missing: %+v", d)
			}
			if _, ok := d.find("readiness", "Permissions Violation"); !ok {
				t.Errorf("doctor does not say what the bridge says: %+v", d)
			}
			srv.Reload(bustest.Config(t, withPermissions(listed)))
			eventually(t, "the bridge is content", func() bool { status, _ := r.ready(); return status == http.StatusOK })
			js := r.jetStream("admin")
			eventually(t, "no request is left", func() bool { return held(t, js, "KLING_REQUESTS", "kling.request.>") == 0 })
		})
	}
}
