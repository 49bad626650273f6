package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// wrongUsage are command lines that can't be meant, one a line, by what stderr says of each.
const wrongUsage = `
serve --jsn | unknown flag: --jsn
serve now | "now"
dev now | "now"
dev --addr= | --addr is empty
dev --addr here | --addr "here" is not an address
dev --speed 0 | --speed "0" is not a number above zero
dev --task-time soon | --task-time "soon" is not a duration
dev --task-time -1s | --task-time -1s is below zero
dev --lose-callback=1.5 | --lose-callback "1.5" is not a probability from 0 to 1
dev --callbacks never | --callbacks "never"
demo --fast | unknown flag: --fast
demo now | "now"
sim now | "now"
sim --adr x | unknown flag: --adr; did you mean --addr?
sim --addr 127.0.0.1:99999 | --addr "127.0.0.1:99999" is not an address
sim --addr a:1 --addr b:2 | --addr is given twice, the second time as "b:2"
sim --access-key a --secret-key b --access-key c | --access-key is given twice
sim --speed Inf | --speed "Inf" is not a number above zero
sim --slow NaN | --slow "NaN" is not a probability
sim --seed -1 | --seed "-1" is not a whole number of zero or more
sim --query-lag -1s | --query-lag -1s is below zero
sim --webhook-secret abc | --webhook-secret: want whsec_
sim --slots-by-model kling-v3 | --slots-by-model "kling-v3" is not name=number
sim --slots-by-model kling-v3=-1 | --slots-by-model kling-v3=-1 is below zero
sim --slots= | --slots is empty
sim --retired text2vidoe | --retired: there is no kind text2vidoe
sim --retired= | --retired is empty
sim --wrapped=perhaps | --wrapped "perhaps" is not true or false
submit | name a kind
submit '' | the kind is empty
submit text2video '' --prompt x | the file's name is empty
submit text2video a b | "b"
submit text2video --promt x | did you mean --prompt?
submit text2video --prompt | --prompt
submit text2video --prompt= | --prompt is empty
submit text2video --prompt x --prompt y | --prompt is given twice
submit text2video --prompt x --set prompt=y | --prompt and --set "prompt=y" exclude each other
submit text2video --set a=1 --set a=2 | --set a is given twice, the second time as "a=2"
submit text2video --set a | --set "a" is not key=value
submit text2video --set '' | --set is empty
submit text2video --prompt x --id a --id b | --id is given twice, the second time as "b"
submit text2video --prompt x --id LONG | --id "LONG
submit text2video --prompt x --timeout soon | --timeout "soon"
submit text2video --prompt x --timeout 0 | --timeout "0"
submit text2video --prompt x --timeout -1h | --timeout "-1h"
submit text2video --prompt x --retries 6 | --retries 6
submit text2video --prompt x --retries -1 | --retries -1
submit text2video --prompt x --retries many | --retries "many" is not a whole number
submit text2video --prompt x --priority urgent | --priority "urgent"
submit text2video --prompt x --account A | --account "A"
submit text2video --prompt x --meta Tenant | --meta "Tenant"
submit text2video --prompt x --meta Tenant=a --meta Tenant=b | --meta Tenant is given twice
submit text2video --prompt x --meta 'a b=c' | metadata name "a b"
submit text2video --attach image | --attach "image"
submit text2video --prompt x --attach-bucket a.b | --attach-bucket "a.b"
submit text2video --prompt x --download= | --download is empty
submit text2video --prompt x --wait=perhaps | --wait "perhaps" is not true or false
submit text2video --prompt x --json --json=false | --json is given twice
submit text2video - | what came from stdin is not a JSON object
submit text2video --lines | --lines wants a file
submit text2video - --lines | line 1 is not a JSON object
submit text2video - --lines --attach a=b | --attach
kinds text2vidoe | did you mean text2video?
kinds '' | no kind
kinds a b | "b"
kinds --jsn | did you mean --json?
call | name a call
call tts '' | the file's name is empty
call tss | "tss"
call tts a b | "b"
call tts - | what came from stdin is not a JSON object
call tts --set a=1 --set a=2 | --set a is given twice
call tts --set a | --set "a"
call tts --account A_B | --account "A_B"
call tts --account= | --account is empty
watch now | "now"
watch --kind a.b | --kind "a.b"
watch --kind= | --kind is empty
watch --kind a --kind b | --kind is given twice, the second time as "b"
watch --status succeeded | --status "succeeded"
watch --id LONG | --id "LONG
watch --since yesterday | --since "yesterday"
watch --since -5m | --since -5m
watch --count 0 | --count 0
watch --count some | --count "some" is not a whole number
forward | --to
forward --to= | --to is empty
forward --to ftp://user:hidden@x | --to: want a URL
forward --to http://x now | "now"
forward --to http://x --to http://user:hidden@y | --to is given twice
forward --to http://x --secret hidden | --secret: want whsec_
forward --to http://x --secret hidden --secret hidden | --secret is given twice
forward --to http://x --kind a.b | --kind "a.b"
forward --to http://x --status submitted | --status "submitted"
forward --to http://x --id LONG | --id "LONG
forward --to http://x --since 0 | --since 0
forward --to http://x --durable a.b | --durable "a.b"
forward --to http://x --concurrency 0 | --concurrency 0
forward --to http://x --tries 0 | --tries 0
forward --to http://x --timeout 0 | --timeout 0s
forward --to http://x --timeout soon | --timeout "soon" is not a duration
try now | "now"
try --jsn | did you mean --json?
task gte | unknown command "gte"
task get | name a request id
task get '' | a request id is empty
task get a b | "b"
task get LONG | request id "LONG
task get a --jsn | did you mean --json?
task list now | "now"
task list --status done | --status "done"
task list --status failed, | --status ""
task list --kind a.b | --kind "a.b"
task list --source mail | --source "mail"
task list --since soon | --since "soon"
task list --meta Tenant | --meta "Tenant"
task list --limit 0 | --limit 0
task list --limit few | --limit "few" is not a whole number
task list --limit 5 --all | --limit and --all
task cancel | name a request id
task cancel a '' | a request id is empty
task again | name a request id
task again a b | "b"
task again a --set b | --set "b"
task again a --set b=1 --set b=2 | --set b is given twice
dead lst | unknown command "lst"
dead list now | "now"
dead list --limit -1 | --limit -1
dead replay | name a request id
dead replay LONG | request id "LONG
status now | "now"
status --jsn | did you mean --json?
doctor now | "now"
doctor --fix | unknown flag: --fix
healthcheck now | "now"
healthcheck --url x | unknown flag: --url
version now | "now"
version --json=perhaps | --json "perhaps" is not true or false
completion | Available Commands
completion tcsh | unknown command "tcsh"
completion bash now | "now"
help submit now | there is no help about "submit now"
help srve | there is no help about "srve"
sumbit text2video | Did you mean this?
-x | unknown shorthand flag
`

// TestWrongUsageEverywhere gives every command what it can't take. It says so in one line and asks nobody.
func TestWrongUsageEverywhere(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int32
	accepting := make(chan struct{})
	go func() {
		defer close(accepting)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			asked.Add(1)
			_ = conn.Close()
		}
	}()
	environ := map[string]string{
		"NATS_URL": "nats://" + listener.Addr().String(), "BRIDGE_ADMIN_ADDR": listener.Addr().String(),
		"BRIDGE_DATA_DIR": filepath.Join(t.TempDir(), "data"),
	}
	covered := map[string]bool{}
	for line := range strings.Lines(wrongUsage) {
		command, says, ok := strings.Cut(strings.TrimSpace(line), " | ")
		if !ok {
			continue
		}
		long := strings.Repeat("i", 129)
		var args []string
		for _, word := range strings.Split(strings.ReplaceAll(command, "'a b=c'", "'a_b=c'"), " ") {
			word = strings.ReplaceAll(strings.Trim(word, "'"), "a_b=c", "a b=c")
			args = append(args, strings.ReplaceAll(word, "LONG", long))
		}
		covered[args[0]] = true
		if len(args) > 1 {
			covered[args[0]+" "+args[1]] = true
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // what is taken for right usage may go on for ever
		got := execute(ctx, environ, "{", args...)
		cancel()
		if got.code != 2 || got.stdout != "" || !strings.Contains(got.stderr, strings.ReplaceAll(says, "LONG", long)) {
			t.Errorf("%s: want exit 2 that says %q, got %+v", command, says, got)
		}
		told, _, _ := strings.Cut(got.stderr, "\ntry: ")
		if extra := strings.Contains(told, "\n") && !strings.Contains(told, "Did you mean this?") && !strings.Contains(told, "Usage:"); extra ||
			strings.Contains(got.stderr, "hidden") {
			t.Errorf("%s: want one line without secrets, got\n%s", command, got.stderr)
		}
	}
	_ = listener.Close()
	<-accepting
	if n := asked.Load(); n > 0 {
		t.Errorf("%d connections were made", n)
	}
	if _, err := os.Stat(environ["BRIDGE_DATA_DIR"]); err == nil {
		t.Error("a store was made")
	}
	root := newProgram(nil, nil, nil, nil).rootCommand()
	for _, cmd := range root.Commands() {
		if cmd.Runnable() && !covered[cmd.Name()] {
			t.Errorf("no wrong usage of %s is tried", cmd.Name())
		}
		for _, sub := range cmd.Commands() {
			if name := cmd.Name() + " " + sub.Name(); cmd.Name() != "completion" && !covered[name] {
				t.Errorf("no wrong usage of %s is tried", name)
			}
		}
	}
}
