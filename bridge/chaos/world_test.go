package chaos_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/clock/clocktest"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/bridge/subjects"
)

const apiKey = "chaos-key"

// setup is what differs from world to world.
type setup struct {
	binary         string
	natsURL        string        // empty: the server embedded in the program
	replicas       int           // of the bridge
	streamReplicas int           // zero: one
	embedded       string        // where the embedded server listens
	recorded       bool          // what was recorded of late goes wrong as well, which earlier versions of the program can't live with
	byModel        bool          // Kling counts slots by model
	byHand         bool          // nothing goes wrong at Kling, and tasks end only when the test says so
	bodies         bool          // of create calls are wanted
	lasting        time.Duration // of tasks, so that each is polled several times; zero: they end soon
	archive        string        // URL; empty: none
	slots          int           // of Kling's video pool; zero: enough, or few where something goes wrong
	reuses         bool          // Kling makes a second task under an external id, instead of refusing it
	files          string        // where result files are served; empty: by the simulated Kling
	accounts       []string      // names of those at Kling, and failed tasks are made again; empty: there is one
}

// world is the program between real NATS servers and a simulated Kling, with everything seen that goes in and out.
type world struct {
	t        *testing.T
	ctx      context.Context
	began    time.Time
	seed     uint64
	subjects subjects.Subjects
	bus      *bus.Bus
	nc       *nats.Conn
	js       jetstream.JetStream
	sim      *klingtest.Running
	phone    *phone
	recorded bool // see setup
	copies   int  // of each stream
	replicas []*replica
	trap     trap
	calm     atomic.Bool  // nothing goes wrong any more
	uploads  atomic.Int32 // to Kling, under way
	setBacks atomic.Int32 // of the store
	accounts []account    // the first of which is sim; empty: there is no other
	router   klingtest.Accounts
	created  chan []byte // gets the body of each create call; nil: nobody wants them

	// The test's own goroutine has these to itself.
	rng            *rand.Rand
	deck           []fate
	asked          map[string]asked // by token
	order          []asked
	repeats        int
	uploading      *replica // that came to pointUpload last; set before the trap springs
	killed         map[point]int
	leadersStopped int

	mu       sync.Mutex // guards what follows
	dice     *rand.Rand
	fired    map[uint64]bool   // sequences of records whose timer has fired
	seen     map[told]int      // what a plain subscriber got
	mixed    map[int]int       // answers to callbacks that mix accounts, by status
	ends     map[string]ending // what Kling said last of each task, by task id
	unstored []string          // ids of requests with a callback that was answered 2xx and whose event is not stored
}

// newWorld starts everything and returns when the program is ready.
func newWorld(t *testing.T, s setup) *world {
	t.Helper()
	w := &world{
		t: t, ctx: t.Context(), began: time.Now(), seed: newSeed(), subjects: subjects.Default(), recorded: s.recorded, copies: s.streamReplicas,
		asked: map[string]asked{}, killed: map[point]int{},
		fired: map[uint64]bool{}, seen: map[told]int{}, ends: map[string]ending{}, mixed: map[int]int{},
	}
	t.Logf("seed %d", w.seed)
	w.rng, w.dice = rand.New(rand.NewPCG(w.seed, 0)), rand.New(rand.NewPCG(w.seed, 1))
	w.calm.Store(s.byHand)
	if s.bodies {
		w.created = make(chan []byte, 1)
	}
	w.phone = newPhone(w)
	if w.openAccounts(s); w.sim == nil {
		w.sim = klingtest.Start(t, w.kling(s))
	}
	if s.natsURL == "" {
		s.embedded = bustest.FreeAddr(t)
		w.replicas = append(w.replicas, w.newReplica(s, "0"))
		s.replicas, s.natsURL = 0, "nats://"+s.embedded
	}
	w.connect(s.natsURL)
	for _, subject := range []string{w.subjects.AllProgress(), w.subjects.AllCompletions(), w.subjects.Late("*", "*", "*")} {
		w.subscribe(subject, w.see)
	}
	for i := range s.replicas {
		w.replicas = append(w.replicas, w.newReplica(s, strconv.Itoa(i)))
	}
	for _, r := range w.replicas {
		r.waitReady()
	}
	w.watch()
	return w
}

// kling is an account with few slots, on which everything goes wrong that can.
func (w *world) kling(s setup) klingtest.Options {
	o := klingtest.Options{
		APIKeys:         []string{apiKey},
		Seed:            w.seed,
		CapacityByModel: s.byModel,
		Slots:           map[kling.Pool]int{kling.PoolVideo: 8, kling.PoolImage: 5, kling.PoolTryOn: 3},
		SubmittedFor:    30 * time.Millisecond,
		Duration:        150 * time.Millisecond,
		CallbackHTTP:    w.phone.client(),
		Faults:          klingtest.Faults{Create: w.createFault, Query: w.queryFault, Callback: w.callbackFault},
		Observe:         w.observe,
		PublicURL:       s.files,
		TakesKnownIDs:   s.reuses,
	}
	if s.recorded {
		o.Faults.OddShape = oddity
	}
	if s.byHand {
		o.Slots = map[kling.Pool]int{kling.PoolVideo: 10_000, kling.PoolImage: 10_000, kling.PoolTryOn: 10_000}
		o.Duration = time.Hour
	}
	if s.slots > 0 {
		o.Slots[kling.PoolVideo] = s.slots
	}
	if s.lasting > 0 {
		o.Duration = s.lasting
	}
	return o
}

func (w *world) connect(url string) {
	w.t.Helper()
	var err error
	if w.bus, err = bus.Open(w.ctx, bus.Options{URL: url, Logger: slog.New(slog.DiscardHandler)}); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(w.bus.Close)
	w.nc, w.js = w.bus.Conn(), w.bus.JetStream()
}

// environment makes recovery fast. The addresses are added by each replica.
func (w *world) environment(s setup) []string {
	env := []string{
		"GORACE=halt_on_error=1 atexit_sleep_ms=10", // for a program with the race detector in it
		"KLING_API_KEY=" + apiKey,
		"NATS_URL=" + s.natsURL,
		"BRIDGE_EMBEDDED_ADDR=" + s.embedded,
		"BRIDGE_STREAM_REPLICAS=" + strconv.Itoa(max(s.streamReplicas, 1)),
		"BRIDGE_PUBLIC_URL=" + publicURL,
		"BRIDGE_KLING_TIMEOUT=" + klingTimeout.String(),
		"BRIDGE_ACK_WAIT=2s",
		"BRIDGE_LOOKUP_WINDOW=3s",
		"BRIDGE_POLL_AFTER=2s",
		"BRIDGE_POLL_MIN_INTERVAL=500ms",
		"BRIDGE_POLL_MAX_INTERVAL=2s",
		"BRIDGE_PROBE_INTERVAL=500ms",
		"BRIDGE_RECONCILE_INTERVAL=5s",
		"BRIDGE_LOG_FORMAT=text",
	}
	env = append(env, accountsEnvironment(s)...)
	if s.lasting > 0 {
		env = append(env, "BRIDGE_POLL_AFTER=200ms", "BRIDGE_POLL_MIN_INTERVAL=200ms", "BRIDGE_POLL_MAX_INTERVAL=500ms")
	}
	if s.archive != "" {
		allowed := strings.TrimPrefix(s.files, "http://")
		env = append(env, "BRIDGE_ARCHIVE_URL="+s.archive, "BRIDGE_ARCHIVE_ALLOW_HOSTS="+allowed)
	}
	return env
}

// see counts what a plain subscriber gets.
func (w *world) see(msg *nats.Msg) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen[told{msg.Subject, msg.Header.Get(jetstream.MsgIDHeader)}]++
}

// told is a message as subscribers know it: the events of several tries have the same subject.
type told struct{ subject, id string }

// observe follows what happens at Kling. Whatever it waits for, Kling's side waits for too.
func (w *world) observe(e klingtest.Event) {
	switch e.Type {
	case klingtest.Created:
		w.trap.pass(pointCreated)
		if w.created != nil {
			w.created <- e.Body
		}
	case klingtest.CallbackAnswered:
		w.remember(e)
		if e.HTTPStatus/100 == 2 {
			w.trap.pass(pointAnswered)
			w.demandReceipt(e)
		}
	case klingtest.CallbackFailed:
		w.remember(e)
	}
}

// eventually looks at a condition until it holds, for as long as patience lasts.
func (w *world) eventually(what string, holds func() bool) {
	w.t.Helper()
	if !clocktest.Within(patience, holds) {
		w.fatalf("waited %s in vain until %s", patience, what)
	}
}

// pause lets things happen for a random time.
func (w *world) pause(longest time.Duration) {
	w.wait(time.Duration(w.rng.Int64N(int64(longest))))
}

// wait lets things happen for d, or until the test ends.
func (w *world) wait(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-w.ctx.Done():
	}
}

// logs is whether each replica is ready, the end of its log, and what that holds of some ids.
func (w *world) logs(ids ...string) string {
	var text string
	for i, r := range w.replicas {
		_, ready := r.readiness()
		text += fmt.Sprintf("--- readiness and log of replica %d\n%s\n%s\n", i, ready, r.logged(40, ids...))
	}
	return text
}
