package test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// example is a line for schemas/check.mjs.
type example struct {
	Schema string          `json:"schema"`
	Valid  bool            `json:"valid"`
	Data   json.RawMessage `json:"data"`
}

// TestSchemasAreStrict compiles the schemas by ajv with all of its strict modes, and holds to them what a bridge publishes and
// answers, and the sample bodies.
func TestSchemasAreStrict(t *testing.T) {
	t.Parallel()
	have(t, "npm")
	environ := freePorts(t)
	environ["BRIDGE_DATA_DIR"], environ["BRIDGE_PROBE_INTERVAL"] = t.TempDir(), "1s"
	program := build(t)
	dev := launch(t, program, environ, "dev", "--task-time", "50ms", "--submitted-time", "10ms")
	dev.answering(t, "http://"+environ["BRIDGE_ADMIN_ADDR"]+"/readyz")
	ask := func(command string) string {
		return run(t, t.TempDir(), list(environ), program, strings.Fields(command+" --json")...)
	}
	var id struct {
		RequestID string `json:"request_id"`
	}
	first, _, _ := strings.Cut(ask("try"), "\n")
	if err := json.Unmarshal([]byte(first), &id); err != nil {
		t.Fatal(err)
	}
	var examples []example
	add := func(schema, lines string) {
		for line := range strings.Lines(lines) {
			examples = append(examples, example{schema, true, json.RawMessage(line)})
		}
	}
	for status, n := range map[string]int{"submitted": 4, "succeed": 3, "failed": 1, "rejected": 1, "expired": 1} {
		add("event.schema.json", ask(fmt.Sprintf("watch --since 1h --status %s --count %d", status, n)))
	}
	add("api.schema.json#/$defs/status", ask("status"))
	add("api.schema.json#/$defs/task", ask("task list"))
	add("api.schema.json#/$defs/dead_letter", ask("dead list"))
	add("api.schema.json#/$defs/task.get", ask("task get "+id.RequestID))
	for line := range strings.Lines(ask("kinds")) {
		var kind struct {
			Body json.RawMessage `json:"body"`
		}
		if err := json.Unmarshal([]byte(line), &kind); err != nil {
			t.Fatal(err)
		}
		add("request.schema.json", string(kind.Body))
	}
	examples = append(examples, example{"event.schema.json", false, json.RawMessage(`{"status":"succeed"}`)},
		example{"request.schema.json", false, json.RawMessage(`{"options":{"callback_url":"https://example.com"}}`)})

	dir := copyDir(t, "schemas")
	run(t, dir, nil, "npm", "ci", "--no-audit", "--no-fund")
	schemas, err := filepath.Abs("../../events/schema")
	if err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	for _, e := range examples {
		if err := json.NewEncoder(&lines).Encode(e); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "node", "check.mjs", schemas)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(lines.String())
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), fmt.Sprintf("4 schemas, %d examples", len(examples))) || len(examples) < 40 {
		t.Errorf("%v, of %d examples: %s", err, len(examples), out)
	}
}
