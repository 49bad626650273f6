package main

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	loopCommand = "loop"
	loopStream  = "LOOP"
	loopSubject = "loop."
	loopWorkers = 64
	// loopPublishes is how many messages the program stores on the way of a request to its task: the intent, the task's
	// record and the submitted event.
	loopPublishes = 3
	// loopBytes is about what each of them weighs.
	loopBytes = 700
)

// serveLoop is the reference of what is about requests: 64 workers that make the same call and as many publishes. It
// reads no requests and acknowledges none. It does as many as each line on stdin says, and prints how many
// nanoseconds that took.
func serveLoop(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet(loopCommand, flag.ContinueOnError)
	url := flags.String("nats", "", "server")
	kling := flags.String("kling", "", "where to post; empty: publish only")
	publishes := flags.Int("publishes", loopPublishes, "messages for each request")
	if err := flags.Parse(args); err != nil {
		return err
	}
	nc, err := nats.Connect(*url)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	l := &loop{
		js: js, kling: *kling, publishes: *publishes, data: bytes.Repeat([]byte{'x'}, loopBytes),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: loopWorkers}, Timeout: time.Minute},
	}
	config := jetstream.StreamConfig{Name: loopStream, Subjects: []string{loopSubject + ">"}}
	if _, err := js.CreateOrUpdateStream(ctx, config); err != nil {
		return err
	}
	fmt.Println("ready")
	return l.obey(ctx, bufio.NewScanner(os.Stdin))
}

type loop struct {
	js        jetstream.JetStream
	client    *http.Client
	kling     string
	publishes int
	data      []byte
	done      int
}

func (l *loop) obey(ctx context.Context, lines *bufio.Scanner) error {
	for lines.Scan() {
		n, err := strconv.Atoi(lines.Text())
		if err != nil {
			return err
		}
		began := time.Now()
		if err := l.run(ctx, n); err != nil {
			return err
		}
		fmt.Println(time.Since(began).Nanoseconds())
	}
	return lines.Err()
}

func (l *loop) run(ctx context.Context, n int) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, loopWorkers)
	for range loopWorkers {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				if err := l.one(ctx, fmt.Sprintf("order-%09d", l.done+int(i))); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	l.done += n
	close(errs)
	return <-errs
}

// one publishes, posts, and publishes the rest.
func (l *loop) one(ctx context.Context, id string) error {
	for i := range l.publishes {
		if i == 1 {
			if err := l.post(ctx, id); err != nil {
				return err
			}
		}
		msgID := id + "." + strconv.Itoa(i)
		if _, err := l.js.Publish(ctx, loopSubject+msgID, l.data, jetstream.WithMsgID(msgID)); err != nil {
			return err
		}
	}
	return nil
}

func (l *loop) post(ctx context.Context, id string) error {
	if l.kling == "" {
		return nil
	}
	body := `{"prompt":"` + prompt + `","callback_url":"http://127.0.0.1/callbacks/text2video/` + id +
		`/0123456789012345678901234567890123456789012","external_task_id":"k0123456-` + id + `"}`
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, l.kling+"/v1/videos/"+kind, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+apiKey)
	response, err := l.client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("create call: %s", response.Status)
	}
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

// loopProcess is such a process.
type loopProcess struct{ *child }

func (b *bench) startLoop(ctx context.Context, args ...string) (loopProcess, error) {
	c, _, err := b.startSelf(ctx, loopCommand, args...)
	return loopProcess{c}, err
}

// run has the loop do n requests.
func (l loopProcess) run(n int) (elapsed, cpu time.Duration, err error) {
	cpu, err = l.cpuDuring(func() error {
		answer, err := l.ask(strconv.Itoa(n))
		if err != nil {
			return err
		}
		nanoseconds, err := strconv.ParseInt(answer, 10, 64)
		elapsed = time.Duration(nanoseconds)
		return err
	})
	return elapsed, cpu, err
}
