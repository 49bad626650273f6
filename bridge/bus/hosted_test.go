package bus_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
)

// writeContexts saves contexts of the nats command line for this process.
func writeContexts(t *testing.T, contexts map[string]string) {
	t.Helper()
	home := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", home)
	dir := filepath.Join(home, "nats", "context")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range contexts {
		if err := os.WriteFile(filepath.Join(dir, name+".json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDomain works in the domain of the hub from a connection to a leaf node, which has a JetStream of its own. Recorded:
// a context with "jetstream_domain":"hub" made the streams in the leaf's domain.
func TestDomain(t *testing.T) {
	hub, leaf := bustest.StartLeaf(t)
	writeContexts(t, map[string]string{
		"hosted":   `{"url":"` + leaf.URL() + `","jetstream_domain":"hub"}`,
		"prefixed": `{"url":"` + leaf.URL() + `","jetstream_api_prefix":"$JS.hub.API"}`,
	})
	for name, o := range map[string]bus.Options{
		"context": {Context: "hosted"}, "prefix of a context": {Context: "prefixed"},
		"domain": {URL: leaf.URL(), JSDomain: "hub"}, "prefix": {URL: leaf.URL(), JSAPIPrefix: "$JS.hub.API."},
	} {
		t.Run(name, func(t *testing.T) {
			o.Logger = quiet()
			b, err := bus.Open(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			config := eventsConfig(system{replicas: 1})
			eventually(t, "the leaf node is connected", func() bool { return b.EnsureStream(t.Context(), config, "") == nil })
			inDomains(t, hub, leaf, config.Name)
			publishAndRead(t, b, config.Name)
			if err := b.JetStream().DeleteStream(t.Context(), config.Name); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// inDomains wants a stream to be in the domain of the hub alone.
func inDomains(t *testing.T, hub, leaf *bustest.Server, stream string) {
	t.Helper()
	for server, want := range map[*bustest.Server]error{hub: nil, leaf: jetstream.ErrStreamNotFound} {
		js, err := jetstream.New(server.Connect())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.Stream(t.Context(), stream); !errors.Is(err, want) {
			t.Errorf("the stream on %s: %v, want %v", server.Name(), err, want)
		}
	}
}

// publishAndRead calls all that is done without the client's JetStream: a publish, reads and a deletion.
func publishAndRead(t *testing.T, b *bus.Bus, stream string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	msg := message("pub.a", "")
	msg.Data = []byte("kept")
	bus.GuardSequence(msg, "pub.a", 0)
	ack, err := b.Publish(ctx, msg)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := b.Last(ctx, stream, "pub.a"); err != nil || m.Seq != ack.Seq && ack.Stored {
		t.Errorf("last: %+v, %v", m, err)
	}
	var scanned []string
	err = b.Scan(ctx, stream, "pub.>", 1, 10, func(m *bus.Message) bool {
		scanned = append(scanned, string(m.Data))
		return true
	})
	if err != nil || !slices.Equal(scanned, []string{"kept"}) {
		t.Errorf("scanned %q, %v", scanned, err)
	}
	if err := b.Delete(ctx, stream, ack.Seq); err != nil {
		t.Error(err)
	}
}

// TestDomainAndPrefix has neither win: they could disagree.
func TestDomainAndPrefix(t *testing.T) {
	srv := bustest.Start(t)
	writeContexts(t, map[string]string{
		"both": `{"url":"` + srv.URL() + `","jetstream_domain":"hub","jetstream_api_prefix":"$JS.x.API"}`,
	})
	_, err := bus.Open(t.Context(), bus.Options{Context: "both", Logger: quiet()})
	if err == nil || !strings.Contains(err.Error(), `"both"`) {
		t.Errorf("got %v, want an error that names the context", err)
	}
	b, err := bus.Open(t.Context(), bus.Options{Context: "both", JSAPIPrefix: "$JS.API", Logger: quiet()})
	if err != nil {
		t.Fatalf("a variable wins over the context: %v", err)
	}
	b.Close()
}

// TestEmbeddedDomain gives the embedded server the domain, so that clients with the same environment find it there.
func TestEmbeddedDomain(t *testing.T) {
	o := bus.Options{EmbeddedAddr: "127.0.0.1:0", DataDir: t.TempDir(), JSDomain: "edge", Logger: quiet()}
	b, err := bus.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	account, err := b.JetStream().AccountInfo(t.Context())
	if err != nil || account.Domain != "edge" {
		t.Errorf("got %+v, %v", account, err)
	}
}

// TestStreamIsSized bounds an existing stream, which refuses what is too much from then on and keeps what it has.
func TestStreamIsSized(t *testing.T) {
	b := open(t, bustest.Start(t).URL())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	config := jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"put.>"}, Replicas: 1, Duplicates: time.Minute}
	if err := b.EnsureStream(ctx, config, ""); err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{"pub.a", "pub.b", "pub.c"} {
		if _, err := b.Publish(ctx, message(subject, subject+strings.Repeat("x", 100))); err != nil {
			t.Fatal(err)
		}
	}
	config.MaxBytes, config.Discard = 300, jetstream.DiscardNew
	_, updates, err := b.CompareStream(ctx, config, "")
	want := []string{"max_bytes is -1, want 300", "discard is discardold, want discardnew"}
	if err != nil || !slices.Equal(updates, want) {
		t.Errorf("%q, %v, want %q", updates, err, want)
	}
	if err := b.EnsureStream(ctx, config, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Publish(ctx, message("d", "")); !errors.Is(err, bus.ErrFull) || !strings.Contains(err.Error(), "maximum bytes exceeded") {
		t.Errorf("publish to a full stream: %v, want ErrFull", err)
	}
	if state, err := b.State(ctx, "EVENTS"); err != nil || state.Msgs != 3 {
		t.Errorf("the stream has %+v, %v", state, err)
	}
}
