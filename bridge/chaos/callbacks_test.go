package chaos_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"time"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

// publicURL is where callbacks are sent to. The phone takes them to the replicas as a load balancer would.
const publicURL = "http://127.0.0.1:1"

// answerTime is how soon the program promises to answer a callback.
const answerTime = 5 * time.Second

// phone carries Kling's callbacks to one replica after the other and notes how they were answered.
type phone struct {
	w         *world
	transport *http.Transport

	mu      sync.Mutex
	turn    int
	spared  *replica // gets no callbacks; nil: all do
	answers []answer
	sent    map[string]int32 // how often the store had been set back when a callback was last sent to a path
}

// answer is what came of one callback.
type answer struct {
	status int // zero: none came
	at     time.Time
	took   time.Duration
}

func newPhone(w *world) *phone {
	p := &phone{w: w, transport: &http.Transport{MaxIdleConnsPerHost: 64}, sent: map[string]int32{}}
	w.t.Cleanup(p.transport.CloseIdleConnections)
	return p
}

func (p *phone) client() *http.Client { return &http.Client{Transport: p, Timeout: 2 * answerTime} }

// RoundTrip implements [http.RoundTripper].
func (p *phone) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { p.w.trap.pass(pointReceived) },
	})
	r = r.Clone(ctx)
	r.URL.Host, r.Host = p.next(), ""
	p.dial(r.URL.Path)
	began := time.Now()
	resp, err := p.transport.RoundTrip(r)
	a := answer{at: time.Now(), took: time.Since(began)}
	if err == nil {
		a.status = resp.StatusCode
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers = append(p.answers, a)
	return resp, err
}

func (p *phone) dial(path string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent[path] = p.w.setBacks.Load()
}

// setBacks returns how often the store had been set back when a callback was last sent to a URL.
func (p *phone) setBacks(callbackURL string) int32 {
	u, err := url.Parse(callbackURL)
	if err != nil {
		p.w.t.Errorf("callback URL: %v", err)
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent[u.Path]
}

func (p *phone) next() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range p.w.replicas {
		p.turn++
		if r := p.w.replicas[p.turn%len(p.w.replicas)]; r != p.spared {
			return r.callback
		}
	}
	return p.spared.callback
}

// spare keeps callbacks from a replica, as a load balancer does whose health checks fail; nil: from none.
func (p *phone) spare(r *replica) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spared = r
}

// answered returns what came of the callbacks so far.
func (p *phone) answered() []answer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]answer(nil), p.answers...)
}

// ending is what Kling said of a task's end.
type ending struct {
	url  string
	body []byte
}

// remember keeps what Kling says of ends, to say it again later.
func (w *world) remember(e klingtest.Event) {
	if !e.Task.Ended() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ends[e.Task.ID] = ending{e.Task.CallbackURL, e.Body}
}

// demandReceipt looks, at the moment of a 2xx, whether the news is stored. A callback that tells no news has Kling asked
// instead, and is not looked at here.
func (w *world) demandReceipt(e klingtest.Event) {
	if f := w.fateOf(e.Task); f == fateEmpty || f == fateThin && e.Task.Ended() {
		return
	}
	filter := w.subjects.EventsOf(tokenOf(e.Task))
	switch madeAgain := len(w.accounts) > 0 && tryOf(e.Task) <= min(w.fateOf(e.Task).failures(), retries); {
	case madeAgain && !e.Task.Ended():
		return // what was said of it may have been followed by news of the next one
	case madeAgain:
		filter = w.subjects.Progress(e.Task.Kind.Name, events.StatusRetrying, tokenOf(e.Task))
	case e.Task.Ended():
		filter = w.subjects.CompletionOf(tokenOf(e.Task))
	}
	for before := w.phone.setBacks(e.Task.CallbackURL); w.ctx.Err() == nil; {
		m, err := w.bus.Last(w.ctx, w.subjects.EventsStream(), filter)
		if err != nil && !errors.Is(err, bus.ErrNoMessage) {
			w.wait(tick) // NATS is away
			continue
		}
		if err == nil && w.isNews(m.Subject) {
			return
		}
		if w.setBacks.Load() != before {
			return // it may have been stored, and lost with the store
		}
		w.mu.Lock()
		w.unstored = append(w.unstored, idOf(e.Task))
		w.mu.Unlock()
		return
	}
}

// isNews reports whether an event says at least what a callback about processing does.
func (w *world) isNews(subject string) bool {
	parsed, ok := w.subjects.Parse(subject)
	return ok && parsed.Status != events.StatusSubmitted
}

func tokenOf(t klingtest.TaskView) string { return events.Token(idOf(t)) }

// echo says everything again that was ever said: each end of a task and each request, when JetStream has forgotten the
// ids of all messages. Nothing may come of it.
func (w *world) echo() {
	w.t.Helper()
	w.forgetMessageIDs()
	w.mu.Lock()
	ends := make(map[string]ending, len(w.ends))
	for id, e := range w.ends {
		ends[id] = e
	}
	w.mu.Unlock()
	for id, e := range ends {
		if status, err := w.say(e); err != nil || status != http.StatusOK {
			w.t.Errorf("the end of task %s again: status %d, %v; want 200", id, status, err)
		}
	}
	for _, a := range w.order {
		w.askAgain(a)
	}
	w.eventually("no request is left", func() bool { return w.count(w.subjects.RequestsStream(), w.subjects.AllRequests()) == 0 })
}

// say sends the news of an end to a replica.
func (w *world) say(e ending) (status int, err error) {
	u, err := url.Parse(e.url)
	if err != nil {
		return 0, err
	}
	u.Host = w.phone.next()
	client := http.Client{Transport: w.phone.transport, Timeout: 2 * answerTime}
	resp, err := client.Post(u.String(), "application/json", bytes.NewReader(e.body))
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// forgetMessageIDs makes the duplicate window of all that was published pass. No promise may rest on it.
func (w *world) forgetMessageIDs() {
	w.t.Helper()
	const shortest = 100 * time.Millisecond // that JetStream allows
	stream, err := w.js.Stream(w.ctx, w.subjects.EventsStream())
	if err != nil {
		w.fatalf("duplicate window: %v", err)
	}
	config := stream.CachedInfo().Config
	config.Duplicates = shortest
	if _, err := w.js.UpdateStream(w.ctx, config); err != nil {
		w.fatalf("duplicate window: %v", err)
	}
	w.wait(3 * shortest)
}
