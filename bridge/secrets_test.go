package bridge_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
)

// logBuffer is a log that may be written and read at once.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements [io.Writer].
func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// TestSecretsNeverPrint runs successes and failures with every secret set and looks for them in all that comes out:
// logs at the finest level, traces, events, dead letters, and the answers on both listeners.
func TestSecretsNeverPrint(t *testing.T) {
	t.Parallel()
	const accessKey, secretKey, callbackSecret = "AK-secret-1", "SK-secret-2-0123456789abcdef0123456789", "CB-secret-3"
	const adminToken = "AT-secret-4"
	var log logBuffer
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	t.Cleanup(func() { _ = provider.Shutdown(context.WithoutCancel(t.Context())) })

	w := &world{t: t, ctx: t.Context()}
	w.startSim(klingtest.Options{AccessKey: accessKey, SecretKey: secretKey, WebhookSecret: webhookSecret})
	options := bridge.Options{
		Kling:           w.klingClient(kling.Credentials{AccessKey: accessKey, SecretKey: secretKey}, provider),
		CallbackSecrets: []string{callbackSecret},
		AdminToken:      adminToken,
		WebhookSecrets:  []string{webhookSecret},
		ProbeInterval:   50 * time.Millisecond,
		TracerProvider:  provider,
		Logger:          slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	sim := w.sim
	w = start(t, setup{bridge: options})
	w.sim = sim

	w.await(w.submit("fine", "a"))
	w.await(w.submit("refused", "[policy]"))
	w.await(w.submit("failed", "fail: no"))
	callbackURL := w.sim.Tasks()[0].CallbackURL
	w.post(callbackURL, "{")
	w.post(callbackURL+"x", "{}")
	w.sim.SetAuthOutage(1002)
	admin := w.startBridge(setup{bridge: options}).adminURL
	w.submit("paused", "a")
	w.eventually("the outage is noticed", func() bool { return strings.Contains(log.String(), "paused") })
	var answers string
	for _, path := range []string{"/readyz", "/", "/api/session", "/api/tasks"} {
		_, answer := get(t, admin+path)
		answers += answer
	}
	w.sim.SetAuthOutage(0)
	w.await("paused")

	out := log.String() + answers
	for _, stream := range []string{"KLING_EVENTS", "KLING_DEAD"} {
		for _, m := range w.stored(stream, ">") {
			out += fmt.Sprintf("%s %v %s\n", m.Subject, m.Header, m.Data)
		}
	}
	for _, span := range exporter.GetSpans() {
		out += fmt.Sprintf("%+v\n", span)
	}
	signature := callbackURL[strings.LastIndex(callbackURL, "/")+1:]
	for name, secret := range map[string]string{
		"access key": accessKey, "secret key": secretKey, "callback secret": callbackSecret, "webhook secret": webhookSecret,
		"admin token": adminToken,
		"webhook key": strings.TrimPrefix(webhookSecret, "whsec_"), "callback signature": signature, "a token": "eyJhbGciOi",
		"an authorization": "Bearer ",
	} {
		if i := strings.Index(out, secret); i >= 0 {
			t.Errorf("the %s was printed: …%s…", name, out[max(0, i-80):min(len(out), i+80)])
		}
	}
}
