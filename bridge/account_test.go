package bridge_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

// startIn runs a server with an account of these JetStream limits, and no bridge yet.
func startIn(t *testing.T, limits string) *world {
	t.Helper()
	srv := bustest.Start(t, bustest.Config(t,
		`accounts: {A: {jetstream: {`+limits+`}, users: [{user: a, password: a}]}}`))
	w := &world{t: t, ctx: t.Context(), urls: strings.Replace(srv.URL(), "//", "//a:a@", 1)}
	w.startSim(klingtest.Options{})
	w.connect()
	return w
}

// TestAccountTooSmall is told of an account's limits with numbers, before anything is made there. Recorded: the server's
// words alone, and a doctor that was content.
func TestAccountTooSmall(t *testing.T) {
	t.Parallel()
	for limits, test := range map[string]struct {
		sizes   bridge.StreamSizes
		archive string
		says    []string
	}{
		"max_streams: 3":   {says: []string{"this account allows 3 streams (max_streams), the bridge needs 4"}},
		"max_consumers: 5": {says: []string{"this account allows 5 consumers of a stream (max_consumers), the bridge needs ", "KLING_REQUESTS"}},
		"max_file: 1G, max_bytes_required: true": {says: []string{
			"this account allows 953.7 MiB of storage (max_file), the streams take 4.501 GiB (requests=256MiB,events=4GiB,dead=256MiB,settings=1MiB)",
			"set BRIDGE_STREAM_MAX_BYTES",
		}},
		"max_file: 1G": {
			sizes: bridge.StreamSizes{Events: 2 << 30},
			says:  []string{"the streams take 2 GiB (events=2GiB)"},
		},
		"disk_max_stream_bytes: 1G, max_streams: 2": {
			sizes: bridge.StreamSizes{Events: 2 << 30},
			says: []string{
				"this account allows 953.7 MiB for a stream (disk_max_stream_bytes), KLING_EVENTS takes 2 GiB", "allows 2 streams",
			},
		},
		"max_file: 8G, max_bytes_required: true, max_streams: 20": {
			archive: "nats://results",
			says:    []string{"add archive=… to BRIDGE_STREAM_MAX_BYTES"},
		},
	} {
		t.Run(limits, func(t *testing.T) {
			t.Parallel()
			w := startIn(t, limits)
			err := w.runs(setup{archive: test.archive, bridge: bridge.Options{StreamMaxBytes: test.sizes}})
			if _, ok := errors.AsType[*bridge.AccountError](err); !ok {
				t.Fatalf("got %v, want an AccountError", err)
			}
			for _, want := range test.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v does not say %q", err, want)
				}
			}
			for name := range w.js.StreamNames(w.ctx).Name() {
				t.Errorf("stream %s was made", name)
			}
		})
	}
}

// TestAccountOfHostedNATS works in an account that demands sizes and allows little.
func TestAccountOfHostedNATS(t *testing.T) {
	t.Parallel()
	sizes := bridge.StreamSizes{Requests: 10 << 20, Events: 100 << 20, Dead: 10 << 20, Settings: 1 << 20, Archive: 10 << 20}
	w := startIn(t, `max_file: 200M, max_bytes_required: true, max_streams: 6, max_ack_pending: 1000`)
	s := setup{archive: "nats://results", bridge: bridge.Options{StreamMaxBytes: sizes}}
	r := w.startBridge(s)
	if ev := w.await(w.submit("one", "a")); ev.Status != events.StatusSucceed {
		t.Errorf("got %+v", ev)
	}
	w.eventually("the result is archived", func() bool { return w.count("KLING_EVENTS", "kling.archived.*.succeed.one") == 1 })
	for name, want := range map[string]int64{
		"KLING_REQUESTS": sizes.Requests, "KLING_EVENTS": sizes.Events, "KLING_DEAD": sizes.Dead,
		"KLING_SETTINGS": sizes.Settings, "OBJ_results": sizes.Archive,
	} {
		stream, err := w.js.Stream(w.ctx, name)
		if err != nil || stream.CachedInfo().Config.MaxBytes != want {
			t.Errorf("stream %s: %+v, %v", name, stream, err)
		}
	}
	if _, err := w.client.Attach(w.ctx, events.Attachment{}, strings.NewReader("x")); err == nil {
		t.Error("1 GiB for attachments where 200 MB are allowed")
	}
	if _, err := w.client.Attach(w.ctx, events.Attachment{BucketMaxBytes: 1 << 20}, strings.NewReader("x")); err != nil {
		t.Error(err)
	}
	r.stop()
	w.startBridge(s) // what is there already takes no more
}
