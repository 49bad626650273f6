package config_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klingbridge/klingbridge/config"
)

func TestLoadDefaults(t *testing.T) {
	t.Parallel()
	got, err := config.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := config.Config{
		KlingBaseURL:      "https://api-singapore.klingai.com",
		AccountOrder:      "prefer",
		EmbeddedAddr:      "127.0.0.1:4222",
		DataDir:           "./data",
		StreamReplicas:    1,
		SubjectPrefix:     "kling",
		EventRetention:    720 * time.Hour,
		TaskTimeout:       24 * time.Hour,
		MaxInlineBytes:    50 << 20,
		ArchiveMaxBytes:   2 << 30,
		InputBuckets:      config.Buckets{"*"},
		KlingTimeout:      60 * time.Second,
		LookupWindow:      2 * time.Minute,
		ProbeInterval:     30 * time.Second,
		AckWait:           20 * time.Second,
		CallbackAddr:      ":8080",
		CallbackTrust:     "url",
		PollAfter:         300 * time.Second,
		PollMinInterval:   10 * time.Second,
		PollMaxInterval:   5 * time.Minute,
		ReconcileInterval: 10 * time.Minute,
		AdminAddr:         "127.0.0.1:8081",
		LogLevel:          "info",
		ShutdownTimeout:   20 * time.Second,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
}

func TestLoadReadsEveryVariable(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"KLING_API_KEY": "key", "KLING_ACCESS_KEY": "ak", "KLING_SECRET_KEY": "sk",
		"KLING_BASE_URL": "http://127.0.0.1:8090/v1", "KLING_WEBHOOK_SECRET": "whsec_c2VjcmV0,whsec_b2xk",
		"NATS_URL": "nats://a:4222,tls://b", "NATS_CREDS": file, "NATS_NKEY": file, "NATS_USER": "u",
		"NATS_TOKEN": "t", "NATS_CA": file, "NATS_CONTEXT": "work", "BRIDGE_EMBEDDED_ADDR": "127.0.0.1:-1",
		"BRIDGE_DATA_DIR": "/data", "BRIDGE_SUBJECT_PREFIX": "team.kling", "BRIDGE_EVENT_RETENTION": "24h",
		"BRIDGE_NAMESPACE": "prod-1", "BRIDGE_EXTRA_KINDS": "new=/v1/videos/new:video", "BRIDGE_CONCURRENCY": "video=2",
		"BRIDGE_TASK_TIMEOUT": "3600", "BRIDGE_MAX_INLINE_BYTES": "1024", "BRIDGE_KLING_TIMEOUT": "5s",
		"BRIDGE_LOOKUP_WINDOW": "3m", "BRIDGE_PROBE_INTERVAL": "1s", "BRIDGE_ACK_WAIT": "2s",
		"BRIDGE_PUBLIC_URL": "https://bridge.example.com/kling", "BRIDGE_CALLBACK_ADDR": "127.0.0.1:0",
		"BRIDGE_CALLBACK_SECRET": "new, old", "BRIDGE_CALLBACK_TRUST": "query", "BRIDGE_ADOPT": "true",
		"BRIDGE_TLS_AUTOCERT": "bridge.example.com", "BRIDGE_POLL_AFTER": "1s", "BRIDGE_POLL_MIN_INTERVAL": "1s",
		"BRIDGE_POLL_MAX_INTERVAL": "10s", "BRIDGE_ADMIN_ADDR": "[::1]:0", "BRIDGE_ADMIN_HOSTS": "bridge.example.com, b", "BRIDGE_LOG_LEVEL": "WARN",
		"BRIDGE_LOG_FORMAT": "json", "BRIDGE_SHUTDOWN_TIMEOUT": "1s", "BRIDGE_ARCHIVE_URL": "nats://results",
		"BRIDGE_ARCHIVE_ALLOW_HOSTS": "127.0.0.1:8090", "BRIDGE_ARCHIVE_MAX_BYTES": "1024",
		"BRIDGE_INPUT_BUCKETS": "kling-inputs, team-*",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			defaults, _ := config.Load(nil)
			got, err := config.Load(map[string]string{name: value})
			if err != nil {
				t.Fatal(err)
			}
			if cmp.Equal(defaults, got) {
				t.Errorf("%s=%s changed nothing", name, value)
			}
			if len(got.Unknown) > 0 {
				t.Errorf("%s is unknown", name)
			}
		})
	}
}

func TestLoadValues(t *testing.T) {
	t.Parallel()
	c, err := config.Load(map[string]string{
		"BRIDGE_POLL_AFTER":      "90",
		"BRIDGE_TASK_TIMEOUT":    "1h30m",
		"BRIDGE_CONCURRENCY":     "video=20, image=9",
		"BRIDGE_CALLBACK_SECRET": "new, old",
		"BRIDGE_LOG_FORMAT":      "", // empty counts as not set
		"NATS_URL":               "nats://n:4222",
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.PollAfter != 90*time.Second || c.TaskTimeout != 90*time.Minute {
		t.Errorf("durations %s, %s, want 1m30s, 1h30m", c.PollAfter, c.TaskTimeout)
	}
	if diff := cmp.Diff(config.Concurrency{"video": 20, "image": 9}, c.Concurrency); diff != "" {
		t.Errorf("concurrency (-want +got):\n%s", diff)
	}
	if got := c.CallbackSecret.Reveal(); !slices.Equal(got, []string{"new", "old"}) {
		t.Errorf("callback secrets %q", got)
	}
	if c.Embedded() {
		t.Error("an embedded server although NATS_URL is set")
	}
}

// TestLoadTrimsSecrets reads secrets as files and here-documents hold them. A newline at the end of a key was sent to
// Kling, and refused with 401 for every request; a blank key beside a pair stopped the start without its name.
func TestLoadTrimsSecrets(t *testing.T) {
	t.Parallel()
	c, err := config.Load(map[string]string{
		"KLING_API_KEY": " ", "KLING_ACCESS_KEY": "a\r\n", "KLING_SECRET_KEY": "\ts\n", "KLING_WEBHOOK_SECRET": "\n",
		"NATS_URL": " nats://n:4222\n", "NATS_USER": "u\n", "NATS_PASSWORD": " p ", "NATS_TOKEN": "\u00a0\n",
		"BRIDGE_CALLBACK_SECRET": " new ,old\n", "BRIDGE_ADMIN_TOKEN": " \n",
	})
	if err != nil || len(c.RequireKling()) > 0 {
		t.Fatal(err, c.RequireKling())
	}
	for want, got := range map[string]config.Secret{
		"a": c.KlingAccessKey, "s": c.KlingSecretKey, "nats://n:4222": c.NATSURL, "u": c.NATSUser, "p": c.NATSPassword,
	} {
		if got.Reveal() != want {
			t.Errorf("got %q, want %q", got.Reveal(), want)
		}
	}
	if c.KlingAPIKey != "" || c.NATSToken != "" || c.AdminToken != "" || len(c.KlingWebhookSecret) > 0 {
		t.Error("a blank secret counts as set")
	}
	if got := c.CallbackSecret.Reveal(); !slices.Equal(got, []string{"new", "old"}) {
		t.Errorf("callback secrets %q", got)
	}
}

func TestLoadReportsEveryFaultAtOnce(t *testing.T) {
	t.Parallel()
	_, err := config.Load(map[string]string{
		"KLING_BASE_URL":           "http://api.example.com",
		"KLING_WEBHOOK_SECRET":     "whsec_!",
		"NATS_URL":                 "http://user:hunter2@n",
		"NATS_PASSWORD":            "hunter2",
		"NATS_CREDS":               "/nowhere/creds",
		"BRIDGE_STREAM_REPLICAS":   "two",
		"BRIDGE_ADOPT":             "perhaps",
		"BRIDGE_CONCURRENCY":       "video=0",
		"BRIDGE_POLL_AFTER":        "5 minutes",
		"BRIDGE_TASK_TIMEOUT":      "-1s",
		"BRIDGE_POLL_MIN_INTERVAL": "10m",
		"BRIDGE_PUBLIC_URL":        "https://bridge.example.com?x=1",
		"BRIDGE_CALLBACK_ADDR":     "8080",
		"BRIDGE_CALLBACK_TRUST":    "me",
		"BRIDGE_TRACE_URL":         "javascript:{trace_id}",
		"BRIDGE_TLS_KEY":           ".",
		"BRIDGE_LOG_LEVEL":         "loud",
		"BRIDGE_LOG_FORMAT":        "xml",
		"BRIDGE_MAX_INLINE_BYTES":  "0",
		"BRIDGE_ARCHIVE_MAX_BYTES": "-1",
		"BRIDGE_INPUT_BUCKETS":     "inputs,,a/b",
		"BRIDGE_LOOKUP_WINDOW":     "1m",
	})
	faults, ok := errors.AsType[config.Faults](err)
	if !ok {
		t.Fatalf("error is %v, want config.Faults", err)
	}
	want := []string{
		`KLING_BASE_URL: "http://api.example.com" is not https (http is for loopback only)`,
		`KLING_WEBHOOK_SECRET: what follows whsec_ is not base64`,
		`NATS_URL: want nats://host:port, comma-separated for several servers (also tls, ws and wss)`,
		`NATS_CREDS: open /nowhere/creds: no such file or directory`,
		`NATS_PASSWORD: is set, but NATS_USER is not`,
		`BRIDGE_STREAM_REPLICAS: "two" is not a whole number`,
		`BRIDGE_CONCURRENCY: "video=0" is not a pool and a number above 0 (want e.g. video=20,image=9)`,
		`BRIDGE_TASK_TIMEOUT: -1s is not above zero`,
		`BRIDGE_MAX_INLINE_BYTES: 0 is not above zero`,
		`BRIDGE_INPUT_BUCKETS: "" is not the name of a bucket (want letters, digits, _ and -, with * for any of them)`,
		`BRIDGE_KLING_TIMEOUT: 1m0s is not below BRIDGE_LOOKUP_WINDOW (1m0s)`,
		`BRIDGE_PUBLIC_URL: "https://bridge.example.com?x=1" has a query or fragment`,
		`BRIDGE_CALLBACK_ADDR: "8080" is not an address (want e.g. 127.0.0.1:8080 or :8080)`,
		`BRIDGE_CALLBACK_TRUST: "me" is not one of url, query`,
		`BRIDGE_ADOPT: "perhaps" is neither true nor false`,
		`BRIDGE_TLS_CERT: is not set, but BRIDGE_TLS_KEY is: they go together`,
		`BRIDGE_TLS_KEY: "." is not a file`,
		`BRIDGE_POLL_AFTER: "5 minutes" is not a duration (want e.g. 300s or 5m)`,
		`BRIDGE_POLL_MAX_INTERVAL: 5m0s is below BRIDGE_POLL_MIN_INTERVAL (10m0s)`,
		`BRIDGE_ARCHIVE_MAX_BYTES: -1 is not above zero`,
		`BRIDGE_TRACE_URL: "javascript:{trace_id}" is not an http or https URL`,
		`BRIDGE_LOG_LEVEL: "loud" is not one of debug, info, warn, error`,
		`BRIDGE_LOG_FORMAT: "xml" is not one of text, json`,
	}
	if diff := cmp.Diff(want, strings.Split(faults.Error(), "\n")); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

func TestLoadFaults(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		environ map[string]string
		want    string
	}{
		"even replicas":           {map[string]string{"BRIDGE_STREAM_REPLICAS": "2"}, "BRIDGE_STREAM_REPLICAS"},
		"replicas of one server":  {map[string]string{"BRIDGE_STREAM_REPLICAS": "3"}, "BRIDGE_STREAM_REPLICAS"},
		"two logins":              {map[string]string{"NATS_USER": "u", "NATS_TOKEN": "t"}, "NATS_TOKEN"},
		"certificate without key": {map[string]string{"NATS_CERT": "config_test.go"}, "NATS_KEY"},
		"autocert and files": {map[string]string{
			"BRIDGE_TLS_AUTOCERT": "a.example", "BRIDGE_TLS_CERT": "config_test.go", "BRIDGE_TLS_KEY": "config_test.go",
		}, "BRIDGE_TLS_AUTOCERT"},
		"autocert for an address":  {map[string]string{"BRIDGE_TLS_AUTOCERT": "192.0.2.1"}, "BRIDGE_TLS_AUTOCERT"},
		"public URL without https": {map[string]string{"BRIDGE_PUBLIC_URL": "http://192.0.2.1"}, "BRIDGE_PUBLIC_URL"},
		"public URL without host":  {map[string]string{"BRIDGE_PUBLIC_URL": "bridge.example.com"}, "BRIDGE_PUBLIC_URL"},
		"one listener for both":    {map[string]string{"BRIDGE_ADMIN_ADDR": ":8080"}, "BRIDGE_ADMIN_ADDR"},
		"no such port":             {map[string]string{"BRIDGE_ADMIN_ADDR": ":99999"}, "BRIDGE_ADMIN_ADDR"},
		"trace URL without an id":  {map[string]string{"BRIDGE_TRACE_URL": "https://jaeger.example.com/trace"}, "BRIDGE_TRACE_URL"},
		"name with a port":         {map[string]string{"BRIDGE_ADMIN_HOSTS": "bridge.example.com:8081"}, "BRIDGE_ADMIN_HOSTS"},
		"empty secret in a list":   {map[string]string{"BRIDGE_CALLBACK_SECRET": "a,,b"}, "BRIDGE_CALLBACK_SECRET"},
		"no whsec_":                {map[string]string{"KLING_WEBHOOK_SECRET": "c2VjcmV0"}, "KLING_WEBHOOK_SECRET"},
		"odd namespace":            {map[string]string{"BRIDGE_NAMESPACE": "a b"}, "BRIDGE_NAMESPACE"},
		"pool twice":               {map[string]string{"BRIDGE_CONCURRENCY": "video=1,video=2"}, "BRIDGE_CONCURRENCY"},
		"endless seconds":          {map[string]string{"BRIDGE_ACK_WAIT": "9223372036854775807"}, "BRIDGE_ACK_WAIT"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := config.Load(test.environ)
			faults, _ := errors.AsType[config.Faults](err)
			if len(faults) != 1 || faults[0].Variable != test.want {
				t.Errorf("faults %v, want one of %s", err, test.want)
			}
		})
	}
}

func TestRequireKling(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		environ map[string]string
		want    string // the faulty variable
	}{
		"nothing":     {nil, "KLING_API_KEY"},
		"API key":     {map[string]string{"KLING_API_KEY": "k"}, ""},
		"pair":        {map[string]string{"KLING_ACCESS_KEY": "a", "KLING_SECRET_KEY": "s"}, ""},
		"first half":  {map[string]string{"KLING_ACCESS_KEY": "a"}, "KLING_SECRET_KEY"},
		"second half": {map[string]string{"KLING_SECRET_KEY": "s"}, "KLING_ACCESS_KEY"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := config.Load(test.environ)
			if err != nil {
				t.Fatal(err)
			}
			faults := c.RequireKling()
			switch {
			case test.want == "" && len(faults) > 0:
				t.Errorf("faults %v, want none", faults)
			case test.want != "" && (len(faults) != 1 || faults[0].Variable != test.want):
				t.Errorf("faults %v, want one of %s", faults, test.want)
			}
		})
	}
}

func TestUnknownVariables(t *testing.T) {
	t.Parallel()
	c, err := config.Load(map[string]string{
		"BRIDGE_POLL_AFTR": "1s", "KLING_APIKEY": "x", "NATS_SERVER": "other programs have variables too", "HOME": "/",
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"BRIDGE_POLL_AFTR", "KLING_APIKEY"}; !slices.Equal(c.Unknown, want) {
		t.Errorf("unknown %q, want %q", c.Unknown, want)
	}
}

// TestNoSecretShows loads a distinct value into every secret and prints the Config in every way there is.
func TestNoSecretShows(t *testing.T) {
	t.Parallel()
	const canary = "hunter2"
	c, err := config.Load(map[string]string{
		"KLING_API_KEY": canary, "KLING_ACCESS_KEY": canary, "KLING_SECRET_KEY": canary,
		"KLING_WEBHOOK_SECRET": "whsec_aHVudGVyMg==", "NATS_URL": "nats://u:" + canary + "@n:4222",
		"NATS_USER": canary, "NATS_PASSWORD": canary, "BRIDGE_CALLBACK_SECRET": canary + ",old-" + canary,
	})
	if err != nil {
		t.Fatal(err)
	}
	var logged strings.Builder
	slog.New(slog.NewTextHandler(&logged, nil)).Info("text", "config", c, "key", c.KlingAPIKey, "list", c.CallbackSecret)
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("json", "config", c, "key", c.KlingAPIKey, "list", c.CallbackSecret)
	encoded, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	printed := []string{logged.String(), string(encoded), c.KlingAPIKey.String()}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		printed = append(printed, fmt.Sprintf(format, c), fmt.Sprintf(format, c.KlingAPIKey), fmt.Sprintf(format, &c))
	}
	for _, text := range printed {
		for _, leak := range []string{canary, "aHVudGVyMg", fmt.Sprintf("%x", canary)} {
			if strings.Contains(text, leak) {
				t.Errorf("%q shows in %s", leak, text)
			}
		}
		if !strings.Contains(text, "[redacted]") {
			t.Errorf("no [redacted] in %s", text)
		}
	}
	if c.KlingAPIKey.Reveal() != canary {
		t.Errorf("Reveal = %q, want %q", c.KlingAPIKey.Reveal(), canary)
	}
}

func TestFaultsShowNoSecret(t *testing.T) {
	t.Parallel()
	const canary = "hunter2"
	_, err := config.Load(map[string]string{
		"NATS_URL":               "ftp://" + canary + "@n",
		"KLING_WEBHOOK_SECRET":   canary,
		"BRIDGE_CALLBACK_SECRET": canary + ",",
		"BRIDGE_PUBLIC_URL":      "https://u:" + canary + "@bridge.example.com",
		"KLING_BASE_URL":         "u:" + canary + "@api",
		"NATS_PASSWORD":          canary,
	})
	if faults, _ := errors.AsType[config.Faults](err); len(faults) != 6 {
		t.Errorf("faults %v, want 6", err)
	}
	if strings.Contains(err.Error(), canary) {
		t.Errorf("a secret shows in %v", err)
	}
}
