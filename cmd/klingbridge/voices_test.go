package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/doctor"
)

// consolePage is an open page of the console.
type consolePage struct {
	mu   sync.Mutex
	news string // the newest
}

// openConsole opens a page, which connects again and again: the console is not there yet, or the bridge is away.
func openConsole(t *testing.T, admin string) *consolePage {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/api/live", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	page := &consolePage{}
	var reading sync.WaitGroup
	reading.Go(func() {
		again := time.NewTicker(100 * time.Millisecond)
		defer again.Stop()
		for ctx.Err() == nil {
			page.read(req)
			select {
			case <-ctx.Done():
			case <-again.C:
			}
		}
	})
	t.Cleanup(func() {
		leave()
		reading.Wait()
	})
	return page
}

// read takes in the news until they end.
func (c *consolePage) read(req *http.Request) {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && data != "{}" { // which says only that it is alive
			c.mu.Lock()
			c.news = data
			c.mu.Unlock()
		}
	}
}

func (c *consolePage) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.news
}

// voices are all who say whether a bridge is ready.
type voices struct {
	*realm
	page *consolePage
}

// metric returns the line of kling_ready.
func (v voices) metric() string {
	v.t.Helper()
	resp, err := http.Get("http://" + v.environ["BRIDGE_ADMIN_ADDR"] + "/metrics")
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if strings.HasPrefix(line, "kling_ready ") {
			return strings.TrimSpace(line)
		}
	}
	return "none"
}

// sayReady waits until all are content.
func (v voices) sayReady() {
	v.t.Helper()
	v.agree("", func() []string {
		status, body := v.ready()
		shell := v.asAdmin("status")
		d := v.diagnose()
		return dissenters(map[string]bool{
			"readyz " + body:             status == http.StatusOK,
			"status " + shell.stdout:     shell.code == 0 && strings.Contains(shell.stdout, ", ready\n"),
			fmt.Sprintf("doctor %v", d):  d.Faults == 0,
			"console " + v.page.String(): strings.Contains(v.page.String(), `"ready":true`),
			v.metric():                   v.metric() == "kling_ready 1",
		})
	})
}

// say waits until all give a reason, and doctor what to do about it.
func (v voices) say(reason, advice string) {
	v.t.Helper()
	v.agree(reason, func() []string {
		status, body := v.ready()
		shell := v.asAdmin("status")
		d := v.diagnose()
		f, _ := d.find("readiness", reason)
		return dissenters(map[string]bool{
			"readyz " + body:                        status == http.StatusServiceUnavailable && strings.Contains(body, reason),
			"status " + shell.stdout + shell.stderr: strings.Contains(shell.stdout, "not ready") && strings.Contains(shell.stdout, reason),
			fmt.Sprintf("doctor %v", d):             f.Level == doctor.Fault && strings.Contains(f.Advice, advice),
			"console " + v.page.String():            strings.Contains(v.page.String(), reason),
			v.metric():                              v.metric() == "kling_ready 0",
		})
	})
}

func dissenters(agree map[string]bool) (list []string) {
	for voice, ok := range agree {
		if !ok {
			list = append(list, voice)
		}
	}
	return list
}

func (v voices) agree(on string, dissent func() []string) {
	v.t.Helper()
	var last []string
	defer func() {
		if v.t.Failed() {
			v.t.Logf("%q is not said by:\n%s", on, strings.Join(last, "\n"))
		}
	}()
	eventually(v.t, fmt.Sprintf("all say %q", on), func() bool {
		last = dissent()
		return len(last) == 0
	})
}

// faulty is a system with a fault to be made under its running bridge.
type faulty struct {
	voices
	srv *bustest.Server
	js  jetstream.JetStream // may do everything
}

func newFaulty(t *testing.T) *faulty {
	t.Helper()
	srv, r := permittedBy(t, smallAccount(listedPermissions(t)), "")
	return &faulty{voices{r, openConsole(t, r.environ["BRIDGE_ADMIN_ADDR"])}, srv, r.jetStream("admin")}
}

// smallAccount is the configuration of an account that is soon full.
func smallAccount(permissions string) string {
	return strings.Replace(withPermissions(permissions), "{jetstream: enabled,", "{jetstream: {max_file: 24M},", 1)
}

// edit changes a stream.
func (f *faulty) edit(stream string, change func(*jetstream.StreamConfig)) (back func()) {
	f.t.Helper()
	s, err := f.js.Stream(f.t.Context(), stream)
	if err != nil {
		f.t.Fatal(err)
	}
	config := s.CachedInfo().Config
	before := config
	change(&config)
	f.update(config)
	return func() { f.update(before) }
}

func (f *faulty) update(c jetstream.StreamConfig) {
	f.t.Helper()
	if _, err := f.js.UpdateStream(f.t.Context(), c); err != nil {
		f.t.Fatal(err)
	}
}

func (f *faulty) deleteStream(name string) {
	f.t.Helper()
	if err := f.js.DeleteStream(f.t.Context(), name); err != nil {
		f.t.Fatal(err)
	}
}

// inTheWay replaces what a bridge makes by something else of somebody else's, which takes a moment.
func (f *faulty) inTheWay(remove, put func() error) {
	f.t.Helper()
	eventually(f.t, "it is in the way", func() bool {
		if err := remove(); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			f.t.Fatal(err)
		}
		return put() == nil
	})
}

// streamInTheWay takes the subjects of the dead letters.
func (f *faulty) streamInTheWay() (mend func()) {
	f.t.Helper()
	ctx := f.t.Context()
	f.inTheWay(func() error { return f.js.DeleteStream(ctx, "KLING_DEAD") }, func() error {
		_, err := f.js.CreateStream(ctx, jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"kling.dead.>"}})
		return err
	})
	return func() { f.deleteStream("OTHER") }
}

// consumerInTheWay has the name of the one of the polls.
func (f *faulty) consumerInTheWay() (mend func()) {
	f.t.Helper()
	ctx := f.t.Context()
	f.inTheWay(func() error { return f.js.DeleteConsumer(ctx, "KLING_EVENTS", "polls") }, func() error {
		_, err := f.js.CreatePushConsumer(ctx, "KLING_EVENTS", jetstream.ConsumerConfig{
			Durable: "polls", DeliverSubject: "elsewhere", FilterSubject: "nothing",
		})
		return err
	})
	return func() {
		if err := f.js.DeleteConsumer(ctx, "KLING_EVENTS", "polls"); err != nil {
			f.t.Fatal(err)
		}
	}
}

// TestAllSayTheSame makes each fault under a running bridge and mends it. Readiness, status, doctor, console and metric
// give the same reason. Recorded: all of them content while nothing could be stored.
func TestAllSayTheSame(t *testing.T) {
	t.Parallel()
	listed := listedPermissions(t)
	for _, c := range []struct {
		name           string
		fault          func(*faulty) (mend func())
		reason, advice string
	}{
		{"a bound that drops requests", func(f *faulty) func() {
			return f.edit("KLING_REQUESTS", func(c *jetstream.StreamConfig) { c.MaxMsgs = 20 })
		}, "max_msgs is 20 with discard old", "nats stream edit"},
		{"events that age too soon", func(f *faulty) func() {
			return f.edit("KLING_EVENTS", func(c *jetstream.StreamConfig) { c.MaxAge /= 2 })
		}, "max_age is 360h0m0s", "nats stream edit"},
		{"the account's storage is full", func(f *faulty) func() {
			fill(f.t, f.js)
			return func() { f.deleteStream("JUNK") }
		}, "publishing below kling-put fails", "limits of the account"},
		{"a stream that can't be made anew", (*faulty).streamInTheWay, "make streams anew", "see streams above"},
		{"a consumer that can't be reached", (*faulty).consumerInTheWay, "consumer polls of stream KLING_EVENTS fails", "nats consumer rm"},
		{"a permission that is missing", func(f *faulty) func() {
			f.srv.Reload(bustest.Config(f.t, smallAccount(strings.Replace(listed, "\"kling-state.slots.*\"\n", "\n", 1))))
			return func() { f.srv.Reload(bustest.Config(f.t, smallAccount(listed))) }
		}, "Permissions Violation for Subscription", "that deployments/README.md lists"},
		{"all streams are lost", func(f *faulty) func() {
			f.srv.RestartEmpty()
			return func() {}
		}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t)
			mend := c.fault(f)
			if c.reason != "" {
				f.say(c.reason, c.advice)
			}
			mend()
			f.sayReady()
			if got := f.asAdmin("submit text2video --prompt short --id last --wait"); got.code != 0 {
				t.Errorf("submit: %s", got.stderr)
			}
		})
	}
}

// TestWrongDomain names a JetStream domain that there is none of. Recorded: doctor advised to start the server with -js, and
// readiness gave no reason.
func TestWrongDomain(t *testing.T) {
	t.Parallel()
	w := hosted(t, "NATS_URL", bustest.Start(t).URL(), "NATS_JS_DOMAIN", "nowhere")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan outcome, 1)
	go func() { ended <- execute(ctx, w.environ, "", "serve") }()
	v := voices{realm: &realm{t: t, environ: w.environ}}
	eventually(t, "readiness says why", func() bool {
		_, body := v.ready()
		return strings.Contains(body, "streams and consumers are not ready: JetStream account: ")
	})
	if got := v.metric(); got != "kling_ready 0" {
		t.Error(got)
	}
	d, got := w.ask()
	f, ok := d.find("jetstream", "no JetStream answers on $JS.nowhere.API.>")
	if !ok || f.Level != doctor.Fault || !strings.Contains(f.Advice, "NATS_JS_DOMAIN") {
		t.Errorf("doctor:\n%s", got.stdout)
	}
	f, ok = d.find("readiness", "streams and consumers are not ready: JetStream account: ")
	if !ok || f.Level != doctor.Fault || !strings.Contains(f.Advice, "are domain and permissions right?") {
		t.Errorf("doctor:\n%s", got.stdout)
	}
	cancel()
	if got := <-ended; got.code != 0 {
		t.Errorf("serve: exit %d: %s", got.code, got.stderr)
	}
}

// fill takes all the storage that the account has left.
func fill(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "JUNK", Subjects: []string{"junk"}}); err != nil {
		t.Fatal(err)
	}
	for size := 512 << 10; size > 0; size /= 8 {
		for {
			_, err := js.Publish(t.Context(), "junk", make([]byte, size))
			if _, refused := errors.AsType[*jetstream.APIError](err); refused {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}
