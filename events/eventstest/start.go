package eventstest

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

const (
	simulatedKey = "simulated-key"
	// Times of simulated tasks and of what is done about lost callbacks: a test should not wait.
	taskTime  = 50 * time.Millisecond
	pollAfter = time.Second
)

// System is the bridge itself between a NATS server and a simulated Kling, all in this process and on loopback: what a program
// meets in earnest but for the money. Tasks take 50 ms, and one whose callback was lost is polled after a second.
//
// A prompt with "fail:" makes a task that fails with what follows as its message, and "[policy]" has a request refused.
type System struct {
	Conn   *nats.Conn     // to its NATS server
	Client *events.Client // on that connection

	mu   sync.Mutex
	fail []string // messages of the next tasks that end
	lose int      // callbacks of ends that are still to be lost
}

// Start runs a whole system until the test ends. Where a script of results is enough, [StartBridge] is faster.
func Start(tb testing.TB) *System {
	tb.Helper()
	s := &System{}
	s.Conn = startListening(tb)
	var err error
	if s.Client, err = events.NewClient(s.Conn, events.Subjects{}); err != nil {
		tb.Fatal(err)
	}
	sim := klingtest.Start(tb, klingtest.Options{
		APIKeys: []string{simulatedKey}, SubmittedFor: taskTime / 5, Duration: taskTime, Fail: s.failing,
		Faults: klingtest.Faults{Callback: s.losing},
	})
	s.run(tb, sim.URL)
	return s
}

// FailNext has the next task that ends fail with this message.
func (s *System) FailNext(message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = append(s.fail, message)
}

// LoseCallback loses the callback of the next task that ends. Its completion comes a second later, from a poll.
func (s *System) LoseCallback() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lose++
}

func (s *System) failing(task klingtest.TaskView) (message string, fail bool) {
	if message, fail = klingtest.FailAsPrompted(task); fail {
		return message, true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.fail) == 0 {
		return "", false
	}
	message, s.fail = s.fail[0], s.fail[1:]
	return message, true
}

func (s *System) losing(v klingtest.CallbackView) klingtest.CallbackFault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !kling.Status(v.Status).Terminal() && v.Status != "succeeded" || s.lose == 0 {
		return klingtest.CallbackFault{}
	}
	s.lose--
	return klingtest.CallbackFault{Lose: true}
}

// run starts the bridge, waits until it takes requests, and stops it at the end of the test.
func (s *System) run(tb testing.TB, klingURL string) {
	tb.Helper()
	client, err := kling.NewClient(kling.Options{BaseURL: klingURL, Credentials: kling.Credentials{APIKey: simulatedKey}})
	if err != nil {
		tb.Fatal(err)
	}
	callbacks := listen(tb)
	b, err := bridge.New(bridge.Options{
		Bus: bus.Options{URL: s.Conn.ConnectedUrl()}, Kling: client, Simulated: true, Logger: slog.New(slog.DiscardHandler),
		CallbackListener: callbacks, AdminListener: listen(tb), PublicURL: "http://" + callbacks.Addr().String(),
		PollAfter: pollAfter, PollMinInterval: pollAfter,
	})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			tb.Errorf("bridge: %v", err)
		}
		client.Close()
	})
	ready, done := context.WithTimeout(tb.Context(), startTimeout)
	defer done()
	for {
		status, err := s.Client.Status(ready)
		if err == nil && status.Ready {
			return
		}
		select {
		case <-ready.Done():
			tb.Fatalf("the bridge is not ready within %s: %v %+v", startTimeout, err, status.Reasons)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func listen(tb testing.TB) net.Listener {
	tb.Helper()
	l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// startListening is startServer for a server that a bridge can connect to.
func startListening(tb testing.TB) *nats.Conn {
	tb.Helper()
	srv := runServer(tb, &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT})
	nc, err := nats.Connect(srv.ClientURL())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	return nc
}
