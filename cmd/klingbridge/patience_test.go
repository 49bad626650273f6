package main

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
)

// clientCommands are what asks, submits or reads, each with what it waits for where a bridge, or its NATS, says nothing.
var clientCommands = map[string]string{
	"status":                 forAnswer,
	"task get a":             forAnswer,
	"task list":              forAnswer,
	"task cancel a":          forAnswer,
	"task again a":           forAnswer,
	"dead list":              forAnswer,
	"dead replay a":          forAnswer,
	"call tts --set text=hi": "waiting for Kling's answer, by way of the bridge",
	"try":                    "", // it gives up before
	"watch":                  "waiting for events",
	"submit text2video --set model_name=kling-v3": "waiting for NATS to store the request",
	"submit text2video - --lines":                 "waiting for NATS to store the request",
	"forward --to http://x.invalid":               "waiting for the consumer of completions",
}

// aBody is what those commands read that read a body.
const aBody = `{"model_name":"kling-v3"}`

// untilTold runs a command until it tells that, and interrupts it.
func untilTold(t *testing.T, environ map[string]string, command, tells string) {
	t.Helper()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	stderr := newSignalBuffer(tells)
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, strings.Fields(command), environ, strings.NewReader(aBody), io.Discard, stderr)
	}()
	select {
	case <-stderr.seen:
	case code := <-done:
		done <- code
	}
	interrupt()
	<-done
	if n := strings.Count(stderr.String(), tells+"\n"); n != 1 {
		t.Errorf("%s: tells %q %d times:\n%s", command, tells, n, stderr)
	}
}

// TestWaitsForNATSTellThemselves has every command wait for a server that accepts connections and says nothing.
func TestWaitsForNATSTellThemselves(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepting, commands sync.WaitGroup
	accepting.Go(func() {
		var conns []net.Conn
		for {
			conn, err := listener.Accept()
			if err != nil {
				break
			}
			conns = append(conns, conn)
		}
		for _, conn := range conns {
			_ = conn.Close()
		}
	})
	environ := map[string]string{"NATS_URL": "nats://" + listener.Addr().String(), "BRIDGE_ADMIN_ADDR": listener.Addr().String()}
	for command := range clientCommands {
		commands.Go(func() {
			got := execute(t.Context(), environ, aBody, strings.Fields(command)...)
			lines := strings.Split(strings.TrimSuffix(got.stderr, "\n"), "\n")
			if got.code != 1 || len(lines) != 2 || lines[0] != "waiting for NATS at "+environ["NATS_URL"] || !strings.Contains(lines[1], "no NATS at") {
				t.Errorf("%s: got %+v, want a line about the wait, and one about its end", command, got)
			}
		})
	}
	commands.Go(func() { untilTold(t, environ, "doctor", "still checking: nats") })
	commands.Go(func() {
		untilTold(t, environ, "healthcheck", "waiting for http://"+environ["BRIDGE_ADMIN_ADDR"]+"/healthz")
	})
	commands.Wait()
	_ = listener.Close()
	accepting.Wait()
}

// TestWaitsForAnswersTellThemselves has every command wait for answers where all that is sent is taken and none comes back.
func TestWaitsForAnswersTellThemselves(t *testing.T) {
	t.Parallel()
	srv := bustest.Start(t, func(o *server.Options) { o.JetStream = false })
	nc := srv.Connect()
	for _, subject := range []string{"kling.>", "$JS.API.>"} {
		if _, err := nc.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	environ := map[string]string{"NATS_URL": srv.URL()}
	var commands sync.WaitGroup
	for command, waits := range clientCommands {
		if waits != "" {
			commands.Go(func() { untilTold(t, environ, command, waits) })
		}
	}
	commands.Go(func() {
		untilTold(t, environ, "submit text2video - --attach image=patience_test.go", "waiting for NATS to take patience_test.go")
	})
	commands.Wait()
}

// TestPermissionErrorsAreTold has a user who may do nothing but listen. Each command says at once, in one line, what it lacks.
func TestPermissionErrorsAreTold(t *testing.T) {
	t.Parallel()
	srv := bustest.Start(t, bustest.Config(t, `jetstream: {}
	accounts: {A: {jetstream: enabled, users: [
		{user: poor, password: poor, permissions: {publish: ["nothing"], subscribe: ["_INBOX.>"]}}
		{user: deaf, password: deaf, permissions: {subscribe: ["nothing"]}}
	]}}`))
	lacks := map[string]string{
		"status": "kling.api.status", "task get a": "kling.api.task.get", "task list": "kling.api.task.list",
		"task cancel a": "kling.api.task.cancel", "task again a": "kling.api.task.again", "dead list": "kling.api.dead.list",
		"dead replay a": "kling.api.dead.replay", "call tts --set text=hi": "kling.call.tts",
		"try": "$SRV.PING.klingbridge", "watch": "$JS.API.STREAM.INFO.KLING_EVENTS", "submit text2video --set model_name=kling-v3": "kling.request.text2video",
		"submit text2video - --lines": "kling.request.text2video", "forward --to http://x.invalid": "$JS.API.",
		"watch --id a": "$JS.API.CONSUMER.CREATE.KLING_EVENTS",
	}
	for command := range clientCommands {
		if lacks[command] == "" {
			t.Errorf("%s: it is not said what it lacks", command)
		}
	}
	for _, user := range []string{"poor", "deaf"} {
		environ := map[string]string{"NATS_URL": srv.URL(), "NATS_USER": user, "NATS_PASSWORD": user}
		for command, subject := range lacks {
			t.Run(user+" "+command, func(t *testing.T) {
				t.Parallel()
				want := `denies this user the permission to publish to "` + subject
				if user == "deaf" {
					want = `denies this user the permission to subscribe to "_INBOX.`
				}
				got := execute(t.Context(), environ, aBody, strings.Fields(command)...)
				told := strings.TrimPrefix(got.stderr, "forwarding completions to http://x.invalid\n")
				if got.code != 1 || strings.Count(told, "\n") != 1 || !strings.Contains(told, want) {
					t.Errorf("got %+v, want one line that %s", got, want)
				}
			})
		}
	}
}

// TestLostNATSIsTold has a server go away for a while, and then know the user no more.
func TestLostNATSIsTold(t *testing.T) {
	t.Parallel()
	const users = `jetstream: {}
	accounts: {A: {jetstream: enabled, users: [{user: a, password: a}, {user: admin, password: admin}]}}`
	srv := bustest.Start(t, bustest.Config(t, users))
	environ := map[string]string{"NATS_URL": srv.URL(), "NATS_USER": "a", "NATS_PASSWORD": "a", "BRIDGE_LOG_LEVEL": "debug"}
	nc, err := nats.Connect(srv.URL(), nats.UserInfo("admin", "admin"), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KLING_EVENTS", Subjects: []string{"kling.completion.>"}})
	if err != nil {
		t.Fatal(err)
	}
	watched := func() bool {
		info, err := stream.Info(t.Context())
		return err == nil && info.State.Consumers > 0
	}
	stderr, done := newSignalBuffer("is away; trying to reach it again\n"), make(chan int, 1)
	go func() {
		done <- run(t.Context(), strings.Fields("watch --id order-1"), environ, strings.NewReader(""), io.Discard, stderr)
	}()
	eventually(t, "somebody watches", watched)
	eventually(t, "it says so", func() bool { return strings.Contains(stderr.String(), "waiting for events\n") })
	srv.Stop()
	<-stderr.seen
	srv.Restart()
	eventually(t, "somebody watches again", watched)
	srv.Reload(bustest.Config(t, strings.ReplaceAll(users, "user: a,", "user: b,")))
	code := <-done
	told := strings.TrimPrefix(stderr.String(), "waiting for events\n")
	if code != 1 || strings.Count(told, "\n") != 2 || !strings.Contains(told, "refuses the credentials") {
		t.Errorf("exit %d, want two lines: %s", code, stderr)
	}
}
