package main

import (
	"bytes"
	"context"
	"encoding/json"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain looks for goroutines that are left. The client library leaves one where an upload to an object store ends before
// the goroutine that watches its connection has begun (nats.go 1.55, read in its source).
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("github.com/nats-io/nats.go/jetstream.(*jetStream).resetPendingAcksOnReconnect"))
}

// outcome is what a run left behind.
type outcome struct {
	code           int
	stdout, stderr string
}

// patience is how long a test waits for what must happen. A busy machine may take as long.
const patience = 2 * time.Minute

// execute runs the program to its end.
func execute(ctx context.Context, environ map[string]string, stdin string, args ...string) outcome {
	var stdout, stderr bytes.Buffer
	code := run(ctx, args, environ, strings.NewReader(stdin), &stdout, &stderr)
	return outcome{code, stdout.String(), stderr.String()}
}

// complaints is stderr without the words of patience that a command has for whoever waits.
func (o outcome) complaints() string {
	var said strings.Builder
	for line := range strings.Lines(o.stderr) {
		if !strings.HasPrefix(line, "waiting for ") && !strings.HasPrefix(line, "still checking: ") {
			said.WriteString(line)
		}
	}
	return said.String()
}

// lastLine is where wrong usage names a line to try.
func (o outcome) lastLine() string {
	lines := strings.Split(strings.TrimSpace(o.stderr), "\n")
	return lines[len(lines)-1]
}

func TestWrongUsage(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args string
		says string // on stderr
		try  string // the command whose help the last line suggests; empty: the help is all there is
	}{
		"no command":            {"", "Requests:", ""},
		"unknown command":       {"srve", `unknown command "srve"`, "klingbridge"},
		"likely command":        {"srve", "Did you mean this?\n\tserve", "klingbridge"},
		"likely subcommand":     {"task gett x", "Did you mean this?\n\tget", "klingbridge task"},
		"unknown flag":          {"version --jsn", "unknown flag: --jsn", "klingbridge version"},
		"argument too many":     {"version x", `"x"`, "klingbridge version"},
		"unknown topic":         {"help srve", `"srve"`, "klingbridge"},
		"dev with accounts":     {"dev --account main:video=1", "dev simulates one account", "klingbridge dev"},
		"submit no file":        {"submit text2video nowhere.json", "nowhere.json: no such file", "klingbridge submit"},
		"submit nothing":        {"submit", "name a kind, for example text2video", "klingbridge submit"},
		"submit three things":   {"submit text2video a.json b.json", `unexpected argument "b.json"`, "klingbridge submit"},
		"submit no id":          {"submit text2video --prompt x --id=", "--id is empty", "klingbridge submit"},
		"submit for nothing":    {"submit text2video --prompt x --timeout=", "--timeout is empty", "klingbridge submit"},
		"submit to nowhere":     {"submit text2video --prompt x --download=", "--download is empty", "klingbridge submit"},
		"submit without body":   {"submit text2video", "no body", "klingbridge submit"},
		"submit without key":    {"submit text2video --set =5", "key=value", "klingbridge submit"},
		"submit into a string":  {"submit text2video --prompt x --set prompt.a=1", `"prompt" is not an object`, "klingbridge submit"},
		"submit at no priority": {"submit text2video --prompt x --priority urgent", `"urgent"`, "klingbridge submit"},
		"submit for no time":    {"submit text2video --prompt x --timeout soon", `"soon"`, "klingbridge submit"},
		"submit odd metadata":   {"submit text2video --prompt x --meta Tenant", `"Tenant"`, "klingbridge submit"},
		"submit a wild kind":    {"submit text* --prompt x", `text*`, "klingbridge submit"},
		"watch a wrong status":  {"watch --status succeeded", `"succeeded"`, "klingbridge watch"},
		"watch something":       {"watch extra", `unexpected argument "extra"`, "klingbridge watch"},
		"watch no id":           {"watch --id=", "--id is empty", "klingbridge watch"},
		"watch nothing":         {"watch --count 0", "--count 0 is not above zero", "klingbridge watch"},
		"watch since now":       {"watch --since 0", "--since 0 is not above zero", "klingbridge watch"},
		"watch since tomorrow":  {"watch --since -24h", "--since -24h is not above zero", "klingbridge watch"},
		"watch since never":     {"watch --since yesterday", `"yesterday"`, "klingbridge watch"},
		"task and nothing":      {"task", "Available Commands:", ""},
		"dead and nothing":      {"dead", "Available Commands:", ""},
		"task and no command":   {"task gte", `unknown command "gte"`, "klingbridge task"},
		"task get nothing":      {"task get", "name a request id", "klingbridge task get"},
		"task get two":          {"task get a b", `unexpected argument "b"`, "klingbridge task get"},
		"task cancel nothing":   {"task cancel", "name a request id", "klingbridge task cancel"},
		"task list oddly":       {"task list --status done", `"done"`, "klingbridge task list"},
		"task list no kind":     {"task list --kind=", "--kind is empty", "klingbridge task list"},
		"task list nothing":     {"task list --limit 0", "--limit 0", "klingbridge task list"},
		"task list both":        {"task list --limit 5 --all", "--limit and --all exclude", "klingbridge task list"},
		"dead list something":   {"dead list x", `unexpected argument "x"`, "klingbridge dead list"},
		"dead replay nothing":   {"dead replay", "name a request id", "klingbridge dead replay"},
		"status of something":   {"status x", `unexpected argument "x"`, "klingbridge status"},
		"forward to nowhere":    {"forward", "name the endpoint", "klingbridge forward"},
		"forward oddly":         {"forward --to localhost:3000", "--to: want a URL", "klingbridge forward"},
		"forward all at once":   {"forward --to http://x --concurrency 0", "--concurrency 0", "klingbridge forward"},
		"forward progress":      {"forward --to http://x --status submitted", `"submitted"`, "klingbridge forward"},
		"forward for no one":    {"forward --to http://x --durable a.b", `"a.b"`, "klingbridge forward"},
		"forward unsigned":      {"forward --to http://x --secret abc", "--secret: want whsec_", "klingbridge forward"},
		"sim with odd slots":    {"sim --slots video", `"video"`, "klingbridge sim"},
		"sim of no such pool":   {"sim --slots vidoe=1", "no pool vidoe (there are video, image, try-on)", "klingbridge sim"},
		"dev of no such pool":   {"dev --slots vidoe=1", "no pool vidoe", "klingbridge dev"},
		"sim submitted forever": {"sim --task-time 1s --submitted-time 2s", "--submitted-time 2s is above", "klingbridge sim"},
		"dev submitted forever": {"dev --submitted-time 5s", "--submitted-time 5s is above", "klingbridge dev"},
		"sim with half a pair":  {"sim --access-key a", "go together", "klingbridge sim"},
		"sim that calls oddly":  {"sim --callbacks never", `"never"`, "klingbridge sim"},
		"sim with odd chances":  {"sim --lose-callback 2", `--lose-callback "2" is not a probability from 0 to 1`, "klingbridge sim"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := execute(t.Context(), map[string]string{}, "", strings.Fields(test.args)...)
			if got.code != 2 || got.stdout != "" {
				t.Errorf("exit %d with stdout %q, want 2 with none", got.code, got.stdout)
			}
			if !strings.Contains(got.stderr, test.says) {
				t.Errorf("stderr does not say %q:\n%s", test.says, got.stderr)
			}
			if want := "try: " + test.try + " --help"; test.try != "" && got.lastLine() != want {
				t.Errorf("last line %q, want %q", got.lastLine(), want)
			}
		})
	}
}

func TestWrongEnvironment(t *testing.T) {
	t.Parallel()
	got := execute(t.Context(), map[string]string{
		"BRIDGE_POLL_AFTER":     "5 minutes",
		"BRIDGE_SUBJECT_PREFIX": "a.*",
		"BRIDGE_EXTRA_KINDS":    "nonsense",
		"BRIDGE_LOG_LEVEL":      "loud",
	}, "", "watch")
	if got.code != 2 {
		t.Errorf("exit %d, want 2", got.code)
	}
	for _, variable := range []string{
		"BRIDGE_POLL_AFTER", "BRIDGE_SUBJECT_PREFIX", "BRIDGE_EXTRA_KINDS", "BRIDGE_LOG_LEVEL",
	} {
		if !strings.Contains("\n"+got.stderr, "\n"+variable+": ") {
			t.Errorf("no line about %s:\n%s", variable, got.stderr)
		}
	}
	if want := "try: klingbridge help environment"; got.lastLine() != want {
		t.Errorf("last line %q, want %q", got.lastLine(), want)
	}
}

func TestConcurrencyOfAnUnknownPool(t *testing.T) {
	t.Parallel()
	environ := map[string]string{"BRIDGE_CONCURRENCY": "video=1,audio=2,sound=3", "BRIDGE_EXTRA_KINDS": "x=/v1/x:sound"}
	got := execute(t.Context(), environ, "", "watch")
	if got.code != 2 || !strings.Contains(got.stderr, "BRIDGE_CONCURRENCY: there is no pool audio") {
		t.Errorf("exit %d: %s", got.code, got.stderr)
	}
	if strings.Contains(got.stderr, "no pool sound") {
		t.Errorf("the pool of an extra kind is unknown: %s", got.stderr)
	}
}

func TestHelpIsNoError(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"--help"}, {"help"}, {"help", "submit"}, {"submit", "--help"}, {"watch", "-h"}, {"help", "environment"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			got := execute(t.Context(), nil, "", args...)
			if got.code != 0 || got.stderr != "" || got.stdout == "" {
				t.Errorf("exit %d, stdout %q, stderr %q", got.code, got.stdout, got.stderr)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	if got := execute(t.Context(), nil, "", "version"); got.code != 0 || !strings.Contains(got.stdout, runtime.Version()) {
		t.Errorf("exit %d: %q", got.code, got.stdout)
	}
	if flag := execute(t.Context(), nil, "", "--version"); flag != execute(t.Context(), nil, "", "version") {
		t.Errorf("--version gives %+v, version something else", flag)
	}
	got := execute(t.Context(), nil, "", "version", "--json")
	var b build
	if err := json.Unmarshal([]byte(got.stdout), &b); err != nil {
		t.Fatal(err)
	}
	if b.Go != runtime.Version() || b.Commit == "" {
		t.Errorf("build %+v", b)
	}
}
