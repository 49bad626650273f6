package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/clock/clocktest"
	"github.com/klingbridge/klingbridge/events"
)

// busyBridge is a bridge with one slot, which is taken by the request long; waits waits for it, and bad was rejected.
func busyBridge(t *testing.T) map[string]string {
	t.Helper()
	environ := freePorts(t)
	environ["BRIDGE_CONCURRENCY"] = "video=1" // else it is tried now and then whether there is another slot
	open(t, environ, "dev", "--task-time", "1h", "--submitted-time", "10ms", "--slots", "video=1")
	submit := func(args ...string) {
		got := execute(t.Context(), environ, "", append([]string{"submit"}, args...)...)
		if want := map[bool]int{true: 1}[args[len(args)-1] == "--wait"]; got.code != want {
			t.Fatalf("submit %v: exit %d: %s", args, got.code, got.stderr)
		}
	}
	submit("text2video", "--prompt", "a", "--id", "long", "--meta", "Tenant=acme")
	until(t, environ, "processing", "task", "get", "long")
	submit("text2video", "--prompt", "a", "--id", "waits", "--priority", "high")
	submit("image-generations", "--prompt", "[policy]", "--id", "bad", "--wait")
	until(t, environ, "bad", "dead", "list")
	until(t, environ, "waits for  a slot", "task", "get", "waits")
	return environ
}

// until runs the program until it prints the text.
func until(t *testing.T, environ map[string]string, text string, args ...string) {
	t.Helper()
	var got outcome
	if !clocktest.Within(patience, func() bool {
		got = execute(t.Context(), environ, "", args...)
		return strings.Contains(got.stdout, text)
	}) {
		t.Fatalf("%v never says %q: %+v", args, text, got)
	}
}

func TestAsking(t *testing.T) {
	t.Parallel()
	environ := busyBridge(t)
	for _, c := range []struct {
		args string
		code int
		says []string // on stdout, or on stderr where the command fails
	}{
		{"task get long", 0, []string{"request    ", "long\n", "status", "processing\n", "meta", "Tenant=acme\n", "next poll", "pool", "video\n"}},
		{"task get nobody", 1, []string{`nothing is known of a request "nobody"`}},
		{"task get waits", 0, []string{"status     waiting\n", "before it  0\n", "waits for  a slot of pool video (1 of 1 taken)\n"}},
		{"task list", 0, []string{"waiting     text2video  waits\n", "processing  text2video  long\n", "rejected    image-generations  bad  policy: "}},
		{"task list --limit 1", 0, []string{"waits"}},
		{"task list --status creating,submitted,processing", 0, []string{"processing  text2video  long\n"}},
		{"task list --status failed,rejected,expired --since 1h", 0, []string{"rejected    image-generations  bad  policy: "}},
		{"task list --source phone", 2, []string{`"phone"`}},
		{"task list --kind text3video", 2, []string{`there is no kind "text3video"`}},
		{"task cancel long nobody", 1, []string{"which has no cancel", `"nobody"`}},
		{"dead list", 0, []string{"rejected    image-generations  bad  policy: "}},
		{"dead replay nobody", 1, []string{`there is no dead letter of a request "nobody"`}},
		{"status", 0, []string{"ready\n", "requests waiting 1, tasks in flight 1, dead letters 1\n", "Kling answered ", " calls in 5 min 0 failed\n", "video ", "cap  waiting: high  normal  low  "}},
	} {
		got := execute(t.Context(), environ, "", strings.Fields(c.args)...)
		text := got.stdout
		if c.code != 0 {
			text = got.stderr
		}
		for _, want := range c.says {
			if !strings.Contains(text, want) || got.code != c.code {
				t.Errorf("%s: exit %d, want %d and %q:\n%s", c.args, got.code, c.code, want, text)
			}
		}
	}
	if got := execute(t.Context(), environ, "", "task", "list", "--limit", "1"); !strings.Contains(got.stderr, "there are more") ||
		strings.Count(got.stdout, "\n") != 1 {
		t.Errorf("got %+v", got)
	}
	if got := execute(t.Context(), environ, "", "task", "list", "--since", "1h", "--source", "bridge"); strings.Count(got.stdout, "\n") != 1 ||
		got.complaints() != "1 request: 1 rejected; 0 units\n" {
		t.Errorf("got %+v", got)
	}
	changeThings(t, environ)
}

// TestTaskListSumsUp lists what has ended, of a bridge that knows just these.
func TestTaskListSumsUp(t *testing.T) {
	t.Parallel()
	b := startFakeBridge(t)
	task := func(id string, status events.Status, source events.Source, units string, failed *events.Error) events.Task {
		at := func(after time.Duration) events.Time { return events.At(time.Unix(2e9, 0).Add(after)) }
		completed := at(4321 * time.Millisecond)
		return events.Task{
			RequestID: id, Kind: "text2video", Pool: "video", Status: status, Source: source, Units: units, Error: failed,
			RequestedAt: at(0), CompletedAt: &completed, Metadata: map[string]string{},
		}
	}
	answer, err := json.Marshal(events.TaskList{Tasks: []events.Task{
		task("a", events.StatusSucceed, events.SourceCallback, "0.1", nil),
		task("b", events.StatusSucceed, events.SourcePoll, "0.2", nil),
		task("c", events.StatusFailed, events.SourcePoll, "0", &events.Error{Class: events.ErrorKling, Message: "no idea"}),
		task("d", events.StatusExpired, events.SourceBridge, "3", &events.Error{Class: events.ErrorExpired, Message: "the deadline has passed"}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan string, 1)
	if _, err := b.js.Conn().Subscribe("kling.api.task.list", func(m *nats.Msg) {
		asked <- string(m.Data)
		_ = m.Respond(answer)
	}); err != nil {
		t.Fatal(err)
	}
	b.flush()
	got := execute(t.Context(), b.environ(), "", "task", "list", "--source", "poll", "--status", "failed, succeed", "--since", "2026-11-01T12:00:00Z")
	want := outcome{
		stdout: "2033-05-18T03:33:20.000Z  succeed     text2video  a  4.3s  by callback  0.1 units\n" +
			"2033-05-18T03:33:20.000Z  succeed     text2video  b  4.3s  by poll  0.2 units\n" +
			"2033-05-18T03:33:20.000Z  failed      text2video  c  kling: no idea  by poll\n" +
			"2033-05-18T03:33:20.000Z  expired     text2video  d  the deadline has passed  3 units\n",
		stderr: "4 requests: 1 expired, 1 failed, 2 succeed; 3.3 units\n",
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(outcome{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got, want := <-asked, `{"status":"failed,succeed","source":"poll","since":"2026-11-01T12:00:00.000Z","limit":100}`; got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
}

// changeThings cancels what waits and replays what is dead.
func changeThings(t *testing.T, environ map[string]string) {
	t.Helper()
	for _, c := range []struct {
		args string
		want outcome
	}{
		{"task cancel waits --json", outcome{stdout: `{"request_id":"waits","cancelled":true}` + "\n"}},
		{"task cancel waits", outcome{code: 1, stderr: `klingbridge: request "waits" has already ended: cancelled` + "\n"}},
		{"dead replay bad --json", outcome{stdout: `{"replay_of":"bad","request_id":"bad-r1"}` + "\n"}},
	} {
		if diff := cmp.Diff(c.want, execute(t.Context(), environ, "", strings.Fields(c.args)...), cmp.AllowUnexported(outcome{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.args, diff)
		}
	}
	until(t, environ, "rejected", "task", "get", "bad-r1")
	until(t, environ, "bad-r1", "dead", "list")
	if got := execute(t.Context(), environ, "", "dead", "list"); !strings.Contains(got.stdout, "bad  (replayed)  policy: ") {
		t.Errorf("got %+v", got)
	}
	if got := execute(t.Context(), environ, "", "dead", "replay", "bad", "bad-r1"); got.stdout != "bad-r2\nbad-r1-r1\n" || got.code != 0 {
		t.Errorf("got %+v", got)
	}
}

// TestTaskGetShowsTheResult asks about requests that have ended, of a bridge that knows just these.
func TestTaskGetShowsTheResult(t *testing.T) {
	t.Parallel()
	b := startFakeBridge(t)
	answer := func(status events.Status) []byte {
		result := `{"videos":[{"id":"1","url":"https://cdn.example/a.mp4?k=1&x","duration_seconds":5.10,"watermark_url":""}],` +
			`"images":[],"audios":[],"files":[],"expires_at":"2026-12-23T09:00:00.000Z"}`
		return []byte(`{"task":{"request_id":"a","kind":"text2video","pool":"video","status":"` + string(status) + `","task_id":"7",` +
			`"external_task_id":"k-a","requested_at":"2026-11-23T09:00:00.000Z","submitted_at":null,"completed_at":null,"next_poll_at":null,` +
			`"deadline":null,"metadata":{},"error":null,"units":"3","result":` + result + `}}`)
	}
	_, err := b.js.Conn().Subscribe("kling.api.task.get", func(m *nats.Msg) {
		_ = m.Respond(answer(events.Status(m.Data))) // the id says the status; who is gone needs no answer
	})
	if err != nil {
		t.Fatal(err)
	}
	b.flush()
	for status, want := range map[events.Status]string{
		events.StatusSucceed: "units 3 result https://cdn.example/a.mp4?k=1&x expires 2026-12-23T09:00:00.000Z asked for not known",
		events.StatusExpired: "units 3 late result https://cdn.example/a.mp4?k=1&x expires 2026-12-23T09:00:00.000Z asked for not known",
	} {
		got := execute(t.Context(), b.environ(), "", "task", "get", string(status))
		text := strings.Join(strings.Fields(got.stdout), " ")
		if got.code != 0 || !strings.HasSuffix(text, want) {
			t.Errorf("%s: exit %d: %s", status, got.code, got.stdout)
		}
		got = execute(t.Context(), b.environ(), "", "task", "get", string(status), "--json")
		if got.code != 0 || got.stdout != string(answer(status))+"\n" {
			t.Errorf("%s: exit %d: %s", status, got.code, got.stdout)
		}
	}
}

func TestAskingForJSON(t *testing.T) {
	t.Parallel()
	environ := busyBridge(t)
	asked := func(into any, args ...string) {
		t.Helper()
		got := execute(t.Context(), environ, "", append(args, "--json")...)
		dec := json.NewDecoder(strings.NewReader(got.stdout))
		dec.DisallowUnknownFields()
		if err := dec.Decode(into); err != nil || got.code != 0 {
			t.Errorf("%v: exit %d, %v: %s%s", args, got.code, err, got.stdout, got.stderr)
		}
	}
	var answer events.TaskAnswer
	asked(&answer, "task", "get", "long")
	var status events.BridgeStatus
	asked(&status, "status")
	var dead events.DeadLetter
	asked(&dead, "dead", "list")
	if answer.Task.Status != events.StatusProcessing || status.QueueDepth != 1 || dead.RequestID != "bad" {
		t.Errorf("got %+v, %+v, %+v", answer, status, dead)
	}
	got := execute(t.Context(), environ, "", "task", "list", "--all", "--json")
	lines := strings.Split(strings.TrimSpace(got.stdout), "\n")
	var ids []string
	for _, line := range lines {
		var task events.Task
		if err := json.Unmarshal([]byte(line), &task); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, task.RequestID)
	}
	if diff := cmp.Diff([]string{"waits", "long", "bad"}, ids); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	b := startFakeBridge(t)
	for _, args := range []string{"task get a", "task list", "task cancel a b", "dead list", "dead replay a b", "status"} {
		got := execute(t.Context(), b.environ(), "", strings.Fields(args)...)
		if got.code != 1 || strings.Count(got.complaints(), "\n") != 1 || !strings.Contains(got.stderr, "no bridge answers on kling.api.") ||
			!strings.Contains(got.stderr, "BRIDGE_SUBJECT_PREFIX") {
			t.Errorf("%s: exit %d: %s", args, got.code, got.stderr)
		}
	}
}
