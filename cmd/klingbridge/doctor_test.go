package main

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/doctor"
	"github.com/klingbridge/klingbridge/events"
)

func TestDoctorFinds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		server func(*server.Options) // nil: as it is
		damage func(w *env)
		check  string
		level  doctor.Level
		says   string
		advice string
	}{
		"missing credentials": {
			damage: func(w *env) { delete(w.environ, "KLING_API_KEY") },
			check:  "configuration", level: doctor.Fault, says: "KLING_API_KEY: is not set", advice: "help environment",
		},
		"a malformed variable": {
			damage: func(w *env) { w.set("BRIDGE_POLL_AFTER", "5 minutes") },
			check:  "configuration", level: doctor.Fault, says: `BRIDGE_POLL_AFTER: "5 minutes" is not a duration`,
		},
		"a misspelt variable": {
			damage: func(w *env) { w.set("BRIDGE_PUBLIC_ULR", "https://bridge.example.com") },
			check:  "configuration", level: doctor.Warning, says: "BRIDGE_PUBLIC_ULR is no variable", advice: "misspelt",
		},
		"a console token that can be guessed": {
			damage: func(w *env) { w.set("BRIDGE_ADMIN_TOKEN", "hunter2") },
			check:  "configuration", level: doctor.Warning, says: "BRIDGE_ADMIN_TOKEN has 7 bytes", advice: "openssl rand -hex 32",
		},
		"a kind with the reserved name": {
			damage: func(w *env) { w.set("BRIDGE_EXTRA_KINDS", "self-test=/v1/videos/x:video") },
			check:  "configuration", level: doctor.Fault, says: "the name self-test is reserved",
		},
		"a certificate that is none": {
			damage: func(w *env) { w.set("BRIDGE_TLS_CERT", "doctor_test.go", "BRIDGE_TLS_KEY", "doctor_test.go") },
			check:  "configuration", level: doctor.Fault, says: "BRIDGE_TLS_CERT: load certificate",
		},
		"what depends on a wrong variable": {
			damage: func(w *env) { w.set("KLING_WEBHOOK_SECRET", "whsec_*") },
			check:  "webhook", level: doctor.Skipped, says: "KLING_WEBHOOK_SECRET is to be mended first",
		},
		"a malformed webhook secret": {
			damage: func(w *env) { w.set("KLING_WEBHOOK_SECRET", "whsec_*") },
			check:  "configuration", level: doctor.Fault, says: "KLING_WEBHOOK_SECRET: what follows whsec_ is not base64",
		},
		"NATS down": {
			damage: func(w *env) { w.set("NATS_URL", "nats://user:hunter2@"+nowhere) },
			check:  "nats", level: doctor.Fault, says: "nothing answers at nats://" + nowhere, advice: "NATS_URL",
		},
		"NATS credentials refused": {
			server: func(o *server.Options) { o.Username, o.Password = "bridge", "right" },
			damage: func(w *env) { w.set("NATS_USER", "bridge", "NATS_PASSWORD", "hunter2") },
			check:  "nats", level: doctor.Fault, says: "refuses the credentials", advice: "NATS_PASSWORD",
		},
		"NATS too old": {
			damage: func(w *env) { w.set("NATS_URL", oldServer(w.t)) },
			check:  "nats", level: doctor.Fault, says: "it is 2.10.3, want 2.14.0 or newer", advice: "upgrade",
		},
		"no JetStream": {
			server: func(o *server.Options) { o.JetStream = false },
			check:  "jetstream", level: doctor.Fault, says: "not enabled", advice: "-js",
		},
		"limits nearly used": {
			server: accounts(t), damage: func(w *env) { w.login(); w.provision() },
			check: "limits", level: doctor.Warning, says: "streams: 4 of 4 are used", advice: "raise",
		},
		"writes that are not synced": {
			server: accounts(t), damage: (*env).login,
			check: "sync", level: doctor.Warning, says: "not always on single", advice: "sync_interval: always",
		},
		"sync that can't be seen": {
			check: "sync", level: doctor.Note, says: "can't be seen", advice: "sync_interval",
		},
		"small messages": {
			server: func(o *server.Options) { o.MaxPayload = 32 << 10 },
			check:  "max_payload", level: doctor.Warning, says: "32 KiB", advice: "max_payload",
		},
		"a stream in the way": {
			damage: func(w *env) {
				w.createStream(jetstream.StreamConfig{Name: "KLING_EVENTS", Subjects: []string{"kling.completion.>"}})
			},
			check: "streams", level: doctor.Fault,
			says: `KLING_EVENTS can't be used: subject_transform is not set, want {"src":"kling-put.>","dest":">"}; republish is not set`,
		},
		"subjects in another stream": {
			damage: func(w *env) { w.createStream(jetstream.StreamConfig{Name: "ALL", Subjects: []string{"kling.>"}}) },
			check:  "streams", level: doctor.Fault, says: "subject kling.dead.> belongs to the stream ALL",
		},
		"streams of other settings": {
			damage: func(w *env) { w.provision(); w.set("BRIDGE_EVENT_RETENTION", "48h") },
			check:  "streams", level: doctor.Note, says: "KLING_DEAD: max_age is 720h0m0s, want 48h0m0s", advice: "serve changes it",
		},
		"streams that are not there": {
			check: "streams", level: doctor.Note, says: "KLING_REQUESTS, KLING_EVENTS, KLING_DEAD, KLING_SETTINGS: not there",
		},
		"replicas without a cluster": {
			damage: func(w *env) { w.set("BRIDGE_STREAM_REPLICAS", "3") },
			check:  "replicas", level: doctor.Fault, says: "not in a cluster",
		},
		"a wrong Kling key": {
			damage: func(w *env) { w.set("KLING_API_KEY", "hunter2") },
			check:  "kling", level: doctor.Fault, says: "HTTP 401, code 1002", advice: "region",
		},
		"Kling down": {
			damage: func(w *env) { w.set("KLING_BASE_URL", "http://"+nowhere) },
			check:  "kling", level: doctor.Fault, says: "connection refused", advice: "network",
		},
		"no Kling there": {
			damage: func(w *env) {
				web := httptest.NewServer(answering(404, nil, "<html>"))
				w.t.Cleanup(web.Close)
				w.set("KLING_BASE_URL", web.URL)
			},
			check: "kling", level: doctor.Fault, says: "HTTP 404", advice: "KLING_BASE_URL",
		},
		"asked too often": {
			damage: func(w *env) { w.klingStands(); w.ask() },
			check:  "kling", level: doctor.Warning, says: "code 1302", advice: "in a moment",
		},
		"a clock ahead, seen by Kling": {
			damage: func(w *env) { w.klingAt(-time.Hour); w.pair() },
			check:  "kling", level: doctor.Fault, says: "code 1003", advice: "clock",
		},
		"a clock ahead": {
			damage: func(w *env) { w.klingAt(-time.Hour); w.pair() },
			check:  "clock", level: doctor.Fault, says: "clock is 1h0m0s ahead of Kling's: Kling refuses the tokens", advice: "NTP",
		},
		"a clock behind": {
			damage: func(w *env) { w.klingAt(time.Hour); w.pair() },
			check:  "clock", level: doctor.Fault, says: "clock is 1h0m0s behind Kling's",
		},
		"a clock ahead without tokens": {
			damage: func(w *env) { w.klingAt(-time.Hour) },
			check:  "clock", level: doctor.Warning, says: "ahead of Kling's",
		},
		"a clock too far for signed callbacks": {
			damage: func(w *env) { w.klingAt(-time.Hour); w.set("KLING_WEBHOOK_SECRET", "whsec_c2VjcmV0") },
			check:  "clock", level: doctor.Fault, says: "signed callbacks are refused",
		},
		"no public URL": {
			check: "public url", level: doctor.Note, says: "every task is polled",
		},
		"a public URL without a bridge yet": {
			damage: func(w *env) { w.set("BRIDGE_PUBLIC_URL", "http://"+nowhere) },
			check:  "public url", level: doctor.Skipped, says: "no callback secret yet",
		},
		"a public URL that redirects": {
			damage: func(w *env) { w.serves(301, http.Header{"Location": {"https://www.example.com/"}}, "") },
			check:  "public url", level: doctor.Fault, says: `redirect (301 to "https://www.example.com/")`, advice: "end of the redirect",
		},
		"a public URL of something else": {
			damage: func(w *env) { w.serves(200, nil, "welcome to nginx") },
			check:  "public url", level: doctor.Fault, says: "something else, which answers 200",
		},
		"a proxy without a bridge": {
			damage: func(w *env) { w.serves(502, nil, "") },
			check:  "public url", level: doctor.Fault, says: "a proxy does not reach the bridge",
		},
		"a bridge without JetStream": {
			damage: func(w *env) { w.serves(503, nil, "") },
			check:  "public url", level: doctor.Fault, says: "has no JetStream", advice: "/readyz",
		},
		"a public URL that nobody serves": {
			damage: func(w *env) { w.set("BRIDGE_PUBLIC_URL", "http://"+nowhere, "BRIDGE_CALLBACK_SECRET", "shared") },
			check:  "public url", level: doctor.Fault, says: "connection refused", advice: "BRIDGE_CALLBACK_ADDR",
		},
		"a certificate nobody vouches for": {
			damage: func(w *env) {
				web := httptest.NewUnstartedServer(answering(200, nil, ""))
				web.Config.ErrorLog = log.New(io.Discard, "", 0)
				web.StartTLS()
				w.t.Cleanup(web.Close)
				w.set("BRIDGE_PUBLIC_URL", web.URL, "BRIDGE_CALLBACK_SECRET", "shared")
			},
			check: "public url", level: doctor.Fault, says: "certificate", advice: "get a certificate",
		},
		"plain HTTP behind https": {
			damage: func(w *env) {
				w.serves(200, nil, "")
				w.set("BRIDGE_PUBLIC_URL", strings.Replace(w.environ["BRIDGE_PUBLIC_URL"], "http:", "https:", 1))
			},
			check: "public url", level: doctor.Fault, says: "can't be reached", advice: "plain HTTP",
		},
		"a bridge of another system": {
			damage: func(w *env) {
				other := newEnv(w.t)
				open(w.t, other.environ, "serve")
				w.set("BRIDGE_PUBLIC_URL", "http://"+other.environ["BRIDGE_CALLBACK_ADDR"], "BRIDGE_CALLBACK_SECRET", "shared")
			},
			check: "public url", level: doctor.Fault, says: "a bridge with another callback secret", advice: "same NATS system",
		},
		"completions by poll": {
			damage: func(w *env) {
				w.provision()
				w.set("BRIDGE_PUBLIC_URL", "http://"+nowhere)
				w.completions(events.SourcePoll, 10)
				w.completions(events.SourceCallback, 20)
			},
			check: "callbacks", level: doctor.Warning,
			says: "of the last 30 results 20 came by callback and 10 by poll", advice: "task list --source poll",
		},
		"many completions, the last by callback": {
			damage: func(w *env) {
				w.provision()
				w.set("BRIDGE_PUBLIC_URL", "http://"+nowhere)
				w.completions(events.SourcePoll, 50)
				w.completions(events.SourceCallback, 95)
			},
			check: "callbacks", level: doctor.OK, says: "of the last 100 results 95 came by callback and 5 by poll",
		},
		"dead letters": {
			damage: func(w *env) {
				w.provision()
				if _, err := w.jetStream().Publish(w.t.Context(), "kling.dead.text2video.rejected.a", nil); err != nil {
					w.t.Fatal(err)
				}
			},
			check: "dead letters", level: doctor.Warning, says: "1 request was rejected", advice: "dead list",
		},
		"a data directory that can't be": {
			damage: func(w *env) {
				delete(w.environ, "NATS_URL")
				file := filepath.Join(w.t.TempDir(), "file")
				if err := os.WriteFile(file, nil, 0o600); err != nil {
					w.t.Fatal(err)
				}
				w.set("BRIDGE_DATA_DIR", filepath.Join(file, "data"))
			},
			check: "nats", level: doctor.Fault, says: "BRIDGE_DATA_DIR", advice: "writable",
		},
		"no bridge on this machine": {
			damage: func(w *env) { delete(w.environ, "NATS_URL") },
			check:  "nats", level: doctor.Warning, says: "no bridge runs an embedded server", advice: "klingbridge serve",
		},
		"an embedded server at any port": {
			damage: func(w *env) { delete(w.environ, "NATS_URL"); w.set("BRIDGE_EMBEDDED_ADDR", "127.0.0.1:-1") },
			check:  "nats", level: doctor.Warning, says: "takes any free port",
		},
		"somebody else's server where the embedded one should be": {
			damage: func(w *env) {
				w.set("BRIDGE_EMBEDDED_ADDR", strings.TrimPrefix(w.environ["NATS_URL"], "nats://"))
				delete(w.environ, "NATS_URL")
			},
			check: "nats", level: doctor.Fault, says: "is not the embedded server of a bridge", advice: "NATS_URL",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var change []func(*server.Options)
			if test.server != nil {
				change = append(change, test.server)
			}
			w := newEnv(t, change...)
			if test.damage != nil {
				test.damage(w)
			}
			d, got := w.ask()
			f, found := d.find(test.check, test.says)
			if !found || f.Level != test.level || !strings.Contains(f.Advice, test.advice) {
				t.Errorf("want %s about %s that says %q and advises %q, got\n%s", test.level, test.check, test.says, test.advice, got.stdout)
			}
			if strings.Contains(got.stdout+got.stderr, "hunter2") {
				t.Error("a secret was printed")
			}
		})
	}
}

func TestDoctorOnACluster(t *testing.T) {
	t.Parallel()
	w := newEnv(t)
	w.set("NATS_URL", bustest.StartCluster(t).URL())
	d, got := w.ask()
	f, found := d.find("replicas", "streams have 1 replica on the cluster test")
	if !found || f.Level != doctor.Warning || !strings.Contains(f.Advice, "BRIDGE_STREAM_REPLICAS=3") || d.Faults != 0 {
		t.Errorf("one replica:\n%s", got.stdout)
	}
	w.set("BRIDGE_STREAM_REPLICAS", "3")
	d, got = w.ask()
	if f, _ := d.find("replicas", "3, on the cluster test"); f.Level != doctor.OK {
		t.Errorf("three replicas:\n%s", got.stdout)
	}
}

// TestDoctorIsContent looks at systems that work: one on a NATS server of its own, one with the embedded server.
func TestDoctorIsContent(t *testing.T) {
	t.Parallel()
	for name, embedded := range map[string]bool{"embedded": true, "apart": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newEnv(t)
			w.set("KLING_WEBHOOK_SECRET", "whsec_c2VjcmV0", "BRIDGE_PUBLIC_URL", "http://"+w.environ["BRIDGE_CALLBACK_ADDR"]+"/")
			if embedded {
				delete(w.environ, "NATS_URL")
			}
			open(t, w.environ, "serve")
			got := execute(t.Context(), w.environ, "", "doctor")
			if got.code != 0 || got.complaints() != "" || !strings.HasSuffix(got.stdout, "\nfaults: 0, warnings: 0\n") {
				t.Errorf("exit %d:\n%s%s", got.code, got.stdout, got.stderr)
			}
			for _, want := range []string{
				"ok       configuration  every variable is in order\n",
				"ok       kling          " + w.environ["KLING_BASE_URL"] + " accepts the API key\n",
				"ok       streams        KLING_REQUESTS, KLING_EVENTS, KLING_DEAD, KLING_SETTINGS: as they should be\n",
				"ok       public url     " + w.environ["BRIDGE_PUBLIC_URL"] + " reaches a bridge of this system",
				"ok       clock          agrees with Kling's\n",
				"ok       readiness  ",
			} {
				if !strings.Contains(got.stdout, want) {
					t.Errorf("does not say %q:\n%s", want, got.stdout)
				}
			}
			if strings.Contains(got.stdout, "skipped") {
				t.Errorf("something is skipped:\n%s", got.stdout)
			}
		})
	}
}

// TestDoctorAsksTheBridge has a service answer as a bridge does.
func TestDoctorAsksTheBridge(t *testing.T) {
	t.Parallel()
	w := newEnv(t)
	nc, err := nats.Connect(w.environ["NATS_URL"])
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	var status atomic.Pointer[events.BridgeStatus]
	status.Store(&events.BridgeStatus{
		Reasons: []string{"kling: code 1002"},
		Pools:   []events.PoolStatus{{Pool: "video", Paused: []string{"account in arrears"}}, {Pool: "image"}},
	})
	for _, version := range []string{"1.2.3", "1.3.0"} {
		service, err := micro.AddService(nc, micro.Config{Name: "klingbridge", Version: version})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = service.Stop() }()
		answer := micro.HandlerFunc(func(r micro.Request) { _ = r.RespondJSON(status.Load()) })
		subject := events.Subjects{}.API(events.EndpointStatus)
		if err := service.AddEndpoint("status", answer, micro.WithEndpointSubject(subject)); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil { // the server knows the services
		t.Fatal(err)
	}
	d, got := w.ask()
	for _, want := range []struct {
		check string
		level doctor.Level
		says  string
	}{
		{"bridge", doctor.Note, "2 replicas run, of versions 1.2.3, 1.3.0"},
		{"readiness", doctor.Fault, "not ready: kling: code 1002"},
		{"readiness", doctor.Warning, "pool video is paused: account in arrears"},
		{"streams", doctor.Fault, "KLING_REQUESTS, KLING_EVENTS, KLING_DEAD, KLING_SETTINGS: missing, although a bridge runs"},
	} {
		if f, found := d.find(want.check, want.says); !found || f.Level != want.level {
			t.Errorf("want %v, got\n%s", want, got.stdout)
		}
	}
	status.Store(&events.BridgeStatus{Ready: true, QueueDepth: 3, InFlight: 4})
	d, got = w.ask()
	if f, found := d.find("readiness", "ready; 3 requests wait, 4 in flight"); !found || f.Level != doctor.OK {
		t.Errorf("got\n%s", got.stdout)
	}
}

// TestDoctorSeesABridgeThatIsNotReady asks a bridge that Kling refuses.
func TestDoctorSeesABridgeThatIsNotReady(t *testing.T) {
	t.Parallel()
	w := newEnv(t)
	admin := httptest.NewServer(answering(503, nil,
		`{"ready":false,"reasons":[{"component":"kling","reason":"HTTP 401, code 1002"}]}`))
	defer admin.Close()
	w.set("BRIDGE_ADMIN_ADDR", strings.TrimPrefix(admin.URL, "http://"))
	d, got := w.ask()
	if f, found := d.find("readiness", "not ready: kling: HTTP 401, code 1002"); !found || f.Level != doctor.Fault {
		t.Errorf("got\n%s", got.stdout)
	}
}

// TestDoctorChangesNothing compares what JetStream holds before and after.
func TestDoctorChangesNothing(t *testing.T) {
	t.Parallel()
	w := newEnv(t)
	for _, prepare := range []func(){
		func() {},
		func() { w.provision(); w.completions(events.SourcePoll, 3) },
		func() { w.set("BRIDGE_EVENT_RETENTION", "48h") },
	} {
		prepare()
		before := w.holdings()
		w.ask()
		if after := w.holdings(); after != before {
			t.Errorf("before\n%s\nafter\n%s", before, after)
		}
	}
}
