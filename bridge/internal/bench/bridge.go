package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

const (
	apiKey = "bench-key"
	secret = "bench-callback-secret-0123456789"
	prompt = "a lighthouse in a storm at dawn, seen from a small boat that is about to turn back, cinematic, slow, wide shot"
)

// setup says how to run the program.
type setup struct {
	program string // empty: the one that was built
	natsURL string // empty: the embedded server
	dataDir string // of the embedded server
	kling   string
	prefix  string // empty: the default one
	env     []string
}

// bridge is the program as a process.
type bridge struct {
	*child
	subjects subjects.Subjects
	callback string // host:port
	admin    string // host:port
	natsURL  string
	ready    time.Duration // from its start until it said so
}

// startBridge runs the program as an operator would, and returns when it is ready.
func (b *bench) startBridge(ctx context.Context, s setup) (*bridge, error) {
	subjects, err := subjects.New(s.prefix)
	if err != nil {
		return nil, err
	}
	addrs, err := freeAddrs(ctx, 3)
	if err != nil {
		return nil, err
	}
	env := []string{
		"PATH=" + os.Getenv("PATH"),
		"KLING_API_KEY=" + apiKey,
		"KLING_BASE_URL=" + s.kling,
		"NATS_URL=" + s.natsURL,
		"BRIDGE_SUBJECT_PREFIX=" + s.prefix,
		"BRIDGE_CALLBACK_SECRET=" + secret,
		"BRIDGE_CALLBACK_ADDR=" + addrs[0],
		"BRIDGE_PUBLIC_URL=http://" + addrs[0],
		"BRIDGE_ADMIN_ADDR=" + addrs[1],
		"BRIDGE_EMBEDDED_ADDR=" + addrs[2],
		"BRIDGE_DATA_DIR=" + s.dataDir,
	}
	began := time.Now()
	c, err := b.start(ctx, "bridge", append(env, s.env...), cmp.Or(s.program, b.binary), "serve")
	if err != nil {
		return nil, err
	}
	p := &bridge{child: c, subjects: subjects, callback: addrs[0], admin: addrs[1], natsURL: s.natsURL}
	if s.natsURL == "" {
		p.natsURL = "nats://" + addrs[2]
	}
	if err := until(ctx, "the program is ready", func() (bool, error) { return isReady(ctx, addrs[1]), nil }); err != nil {
		c.stop()
		return nil, c.failed(err)
	}
	p.ready = time.Since(began)
	return p, nil
}

func isReady(ctx context.Context, admin string) bool {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/readyz", http.NoBody)
	if err != nil {
		return false
	}
	r.Close = true // the next process has another address
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// line is the program between a requester and a Kling that only accepts, with what comes out of it.
type line struct {
	*bridge
	*natsClient
	kling     *accepting
	submitted *arrivals
	requests  int // made so far
}

// startLine runs all of it.
func (b *bench) startLine(ctx context.Context, s setup) (l *line, err error) {
	l = &line{kling: startAccepting()}
	defer func() {
		if err != nil {
			l.stop()
		}
	}()
	s.kling = l.kling.URL
	if l.bridge, err = b.startBridge(ctx, s); err != nil {
		return l, err
	}
	if l.natsClient, err = connect(l.natsURL); err != nil {
		return l, err
	}
	l.submitted, err = l.watch(l.subjects.Progress("*", events.StatusSubmitted, "*"))
	return l, err
}

func (l *line) stop() {
	if l.natsClient != nil {
		l.close()
	}
	if l.bridge != nil {
		l.bridge.stop()
	}
	l.kling.Close()
}

// submit makes n requests at once, and returns when the submitted event of the last of them has come and nothing is
// left to do: elapsed is until the former.
func (l *line) submit(ctx context.Context, n int) (elapsed, cpu time.Duration, err error) {
	cpu, err = l.cpuDuring(func() error {
		began := time.Now()
		first := l.requests
		l.requests += n
		err := l.publishAll(ctx, n, func(i int) *nats.Msg { return l.request(fmt.Sprintf("order-%09d", first+i)) })
		if err != nil {
			return err
		}
		last, err := l.submitted.await(ctx, n)
		if err != nil {
			return err
		}
		elapsed = last.Sub(began)
		return l.awaitAcks(ctx)
	})
	return elapsed, cpu, err
}

// awaitAcks waits until nothing more is stored of requests that have become tasks.
func (l *line) awaitAcks(ctx context.Context) error {
	return until(ctx, "every request is acknowledged", func() (bool, error) {
		return l.empty(ctx, l.subjects.RequestsStream())
	})
}

func (l *line) request(id string) *nats.Msg {
	msg := nats.NewMsg(l.subjects.Request(kind, events.PriorityNormal))
	msg.Header.Set(events.HeaderRequestID, id)
	msg.Data = []byte(`{"model_name":"kling-v3","mode":"pro","duration":"5","prompt":"` + prompt + `"}`)
	return msg
}

// shots prepares the callbacks of all tasks that were created and not called back about.
func (l *line) shots() ([]shot, error) {
	tasks := l.kling.take()
	shots := make([]shot, 0, len(tasks))
	for _, t := range tasks {
		u, err := url.Parse(t.callbackURL)
		if err != nil {
			return nil, err
		}
		parts := strings.Split(u.Path, "/")
		if len(parts) < 2 {
			return nil, fmt.Errorf("callback URL %s", t.callbackURL)
		}
		shots = append(shots, newShot(l.callback, u.Path, parts[len(parts)-2], finished(t)))
	}
	return shots, nil
}

// callBack calls back about every task. Each must become one completion, which is the only message that is stored then:
// a subscriber would take its share of the machine, and the plain handler has none.
func (l *line) callBack(ctx context.Context) (barrage, error) {
	shots, err := l.shots()
	if err != nil {
		return barrage{}, err
	}
	before, err := l.lastSequence(ctx, l.subjects.EventsStream())
	if err != nil {
		return barrage{}, err
	}
	v, err := fireAt(ctx, l.child, shots)
	if err != nil {
		return v, err
	}
	after, err := l.lastSequence(ctx, l.subjects.EventsStream())
	if stored := after - before; err == nil && stored != uint64(len(shots)) {
		err = fmt.Errorf("%d callbacks became %d messages", len(shots), stored)
	}
	return v, err
}

// barrage is what came of many callbacks, and what it cost.
type barrage struct {
	rate float64       // callbacks a second
	p99  time.Duration // of the answers
	cpu  time.Duration // each
}

// fireAt sends callbacks to a process as fast as it answers.
func fireAt(ctx context.Context, c *child, shots []shot) (barrage, error) {
	var v volley
	cpu, err := c.cpuDuring(func() (err error) {
		v, err = fireAll(ctx, shots)
		return err
	})
	if err != nil {
		return barrage{}, c.failed(err)
	}
	return barrage{
		rate: float64(len(shots)) / v.elapsed.Seconds(),
		p99:  quantile(v.latencies, 0.99),
		cpu:  cpu / time.Duration(len(shots)),
	}, nil
}
