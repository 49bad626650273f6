package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestAccountsDeny(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	const completion = "kling.completion.text2video.succeed.x"
	for user, denied := range map[string]struct{ publish, subscribe []string }{
		"requester": {
			publish: []string{
				completion, "kling-put." + completion, "kling.progress.text2video.submitted.x", "kling.dead.text2video.rejected.x",
				"kling-state.setting.callback-secret", "kling-state.slots.video", "kling.api.task.cancel", "$SRV.PING",
				"$JS.API.STREAM.CREATE.MINE", "$JS.API.STREAM.DELETE.KLING_EVENTS", "$JS.API.STREAM.PURGE.KLING_EVENTS",
				"$JS.API.STREAM.INFO.KLING_REQUESTS", "$JS.ACK.KLING_REQUESTS.video.1.1.1.1.1",
				"$JS.API.CONSUMER.CREATE.KLING_REQUESTS.mine", "kling-mirror.api.CONSUMER.CREATE.KLING_EVENTS.mine.kling.>",
			},
			subscribe: []string{">", "kling.request.>", "kling-put.>", "kling-state.>", "kling-mirror.apps.>", "kling.api.>"},
		},
		"subscriber": {
			publish: []string{
				completion, "kling-put." + completion, "kling.request.text2video", "kling.api.task.cancel",
				"kling.call.tts",
				"kling-state.setting.callback-secret", "$JS.API.STREAM.CREATE.MINE", "$JS.API.STREAM.DELETE.KLING_EVENTS",
				"$JS.API.STREAM.UPDATE.KLING_EVENTS", "$JS.API.STREAM.MSG.DELETE.KLING_EVENTS",
				"kling-mirror.api.CONSUMER.CREATE.KLING_EVENTS.polls.kling.>",
			},
			subscribe: []string{">", "kling.request.>", "kling-state.>", "kling-mirror.readers.>"},
		},
		// Only the server creates the consumer of a copy, by a name that it chooses: any other may be the bridge's.
		"apps-admin":    {publish: []string{"kling-mirror.api.CONSUMER.CREATE.KLING_EVENTS.polls.kling.>"}},
		"readers-admin": {publish: []string{"kling-mirror.api.CONSUMER.CREATE.KLING_EVENTS.polls.kling.>"}},
		"operator": {
			publish: []string{completion, "kling-put." + completion, "kling.request.text2video", "$JS.API.INFO"},
			// What comes to a service is not for those who ask.
			subscribe: []string{">", "kling.completion.>", "kling.api.>"},
		},
		"bridge": {
			publish: []string{
				"other", completion, "$JS.API.STREAM.DELETE.KLING_EVENTS", "$JS.API.STREAM.PURGE.KLING_EVENTS",
				"$JS.API.STREAM.SNAPSHOT.KLING_EVENTS", "$JS.API.SERVER.REMOVE", "$SYS.REQ.SERVER.PING",
			},
			subscribe: []string{">", "kling-put.>", "kling.request.>", "kling.dead.>", "$JS.API.>"},
		},
	} {
		nc := r.connect(user)
		for _, subject := range denied.publish {
			expectDenied(t, nc, user, "Publish", subject, nc.Publish(subject, nil))
		}
		for _, subject := range denied.subscribe {
			_, err := nc.SubscribeSync(subject)
			expectDenied(t, nc, user, "Subscription", subject, err)
		}
	}
}

// expectDenied wants the server to have refused what was just sent. Its error comes before the answer to Flush.
func expectDenied(t *testing.T, nc *nats.Conn, user, what, subject string, err error) {
	t.Helper()
	if err := errors.Join(err, nc.Flush()); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%s to %q", what, subject)
	if err := nc.LastError(); !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %s is not denied (last error: %v)", user, want, err)
	}
}

// TestAccountsNeedAnImportForHighPriority takes the comment off the line that allows it.
func TestAccountsNeedAnImportForHighPriority(t *testing.T) {
	t.Parallel()
	const high = "kling.request.text2video.high"
	for _, allowed := range []bool{false, true} {
		t.Run(fmt.Sprintf("allowed=%t", allowed), func(t *testing.T) {
			t.Parallel()
			r := newRealm(t, func(config string) string {
				if allowed {
					return strings.Replace(config, `# {service: {account: KLING, subject: "kling.request.*.high"}}`,
						`{service: {account: KLING, subject: "kling.request.*.high"}}`, 1)
				}
				return config
			})
			_, err := r.connect("requester").RequestWithContext(t.Context(), high, []byte(`{"prompt":"x"}`))
			if got := !errors.Is(err, nats.ErrNoResponders); got != allowed || err != nil && got {
				t.Errorf("published: %t, %v", got, err)
			}
		})
	}
}

// TestAccountsKeepAnswersAtHome has the server asked to answer, and to deliver, where its answer would do harm. Within
// one account it would.
func TestAccountsKeepAnswersAtHome(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	settings := r.lastSequence("KLING_SETTINGS")
	requester := r.connect("requester")
	for _, reply := range []string{
		"kling-put.kling.completion.text2video.succeed.victim", // the receipt as somebody's completion
		"kling-state.setting.callback-secret",                  // and as the secret that signs callbacks
	} {
		if err := requester.PublishRequest("kling.request.text2video", reply, []byte(`{"prompt":"x"}`)); err != nil {
			t.Fatal(err)
		}
	}
	r.complete("after") // its receipt came after those
	if after := r.lastSequence("KLING_SETTINGS"); after != settings {
		t.Error("a receipt became a setting")
	}
	if got := r.subjects("KLING_EVENTS", "kling.completion.*.*.victim"); len(got) > 0 {
		t.Errorf("a receipt became a completion: %v", got)
	}
	r.complete("victim")

	delivered, err := r.jetStream("subscriber").CreatePushConsumer(t.Context(), "KLING_EVENTS", jetstream.ConsumerConfig{
		DeliverSubject: "kling.request.text2video.low", FilterSubject: "kling.completion.>", AckPolicy: jetstream.AckNonePolicy,
	})
	if err != nil {
		t.Fatal(err)
	}
	info, err := delivered.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.PushBound {
		t.Error("a reader's consumer delivers into requests")
	}
}

// lastSequence of a stream in the bridge's account.
func (r *realm) lastSequence(stream string) uint64 {
	r.t.Helper()
	s, err := r.jetStream("admin").Stream(r.t.Context(), stream)
	if err != nil {
		r.t.Fatal(err)
	}
	return s.CachedInfo().State.LastSeq
}

// TestCopyFollows stores more than the server sends ahead without flow control, which has to come through as well.
func TestCopyFollows(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	const n = 5000
	bridge := r.connect("bridge")
	message := bytes.Repeat([]byte("x"), 8<<10)
	for i := range n {
		if err := bridge.Publish(fmt.Sprintf("kling-put.kling.completion.text2video.succeed.%d", i), message); err != nil {
			t.Fatal(err)
		}
	}
	if err := bridge.Flush(); err != nil {
		t.Fatal(err)
	}
	copied, err := r.jetStream("subscriber").CreateConsumer(t.Context(), "KLING_EVENTS", jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy,
	})
	if err != nil {
		t.Fatal(err)
	}
	messages, err := copied.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer messages.Stop()
	for range n {
		if _, err := messages.Next(jetstream.NextMaxWait(patience)); err != nil {
			t.Fatal(err)
		}
	}
}
