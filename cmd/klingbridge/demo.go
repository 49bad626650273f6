package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
	"github.com/klingbridge/klingbridge/events/body"
)

// demoTimeout bounds the whole demonstration.
const demoTimeout = 50 * time.Second

func (p *program) demoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show requests, callbacks, losses and completions, then exit",
		Long: `Run a bridge with an embedded NATS server and a simulated Kling on free ports, publish one request of each core kind,
and print what happens. The callbacks of one request are lost, those of another are sent three times: each request still
ends in one completion.
Nothing is kept, no account is needed and nothing is paid.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.demo(cmd.Context()) },
	}
}

// demoRequests are one of each core kind. What the names say happens to their callbacks.
func demoRequests() []demoRequest {
	const (
		image = "https://example.com/lighthouse.png"
		video = "871000000000000777"
	)
	return []demoRequest{
		{"demo-text2video", body.Text2Video{ModelName: "kling-v3", Prompt: "a lighthouse in a storm", Duration: "5"}},
		{"demo-image2video-callback-lost", body.Image2Video{ModelName: "kling-v3", Image: image, Prompt: "the waves come in"}},
		{"demo-video-extend-callback-repeated", body.VideoExtend{VideoID: video, Prompt: "the storm passes"}},
		{"demo-lip-sync", body.LipSync{Input: body.LipSyncInput{
			Mode: "text2video", VideoID: video, Text: "Land ahead!", VoiceID: "genshin_vindi2", VoiceLanguage: "en",
		}}},
		{"demo-effects", body.Effects{EffectScene: "squish", Input: body.EffectsInput{Image: image}}},
	}
}

type demoRequest struct {
	id   string
	body events.Body
}

// demoFaults loses the callbacks of one request and repeats those of another, by the names of the requests.
func demoFaults(v klingtest.CallbackView) klingtest.CallbackFault {
	var fault klingtest.CallbackFault
	switch {
	case strings.Contains(v.ExternalID, "lost"), strings.Contains(v.CallbackURL, "callback-lost"):
		fault.Lose = true
	case strings.Contains(v.CallbackURL, "callback-repeated"):
		fault.Repeat = 2
	}
	return fault
}

func (p *program) demo(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "klingbridge-demo-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()

	story := &story{out: p.stdout, began: time.Now()}
	limited, cancel := context.WithTimeoutCause(ctx, demoTimeout,
		fmt.Errorf("the demonstration took longer than %s", demoTimeout))
	defer cancel()
	err = p.tell(limited, dir, story)
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return err
}

// tell runs the demonstration from its start to its stop.
func (p *program) tell(ctx context.Context, dir string, story *story) error {
	d, err := p.startDemo(ctx, dir, story)
	if err != nil {
		return err
	}
	err = d.play(ctx, story)
	story.mute() // the calls that break off now are no part of it
	return errors.Join(err, d.stop())
}

// demonstration is a running bridge with its simulated Kling and a client.
type demonstration struct {
	nc   *link
	stop func() error
}

func (p *program) startDemo(ctx context.Context, dir string, story *story) (*demonstration, error) {
	simURL, stopSim, err := startSim(ctx, simulation{addr: "127.0.0.1:0"}, klingtest.Options{
		APIKeys: []string{simAPIKey}, SubmittedFor: 300 * time.Millisecond, Duration: 1500 * time.Millisecond,
		Faults: klingtest.Faults{Callback: demoFaults}, Observe: story.kling, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	bridge := newProgram(map[string]string{
		"KLING_API_KEY": simAPIKey, "KLING_BASE_URL": simURL, "BRIDGE_LOG_LEVEL": "warn",
		"BRIDGE_DATA_DIR": dir, "BRIDGE_CALLBACK_ADDR": "127.0.0.1:0", "BRIDGE_ADMIN_ADDR": "127.0.0.1:0",
		"BRIDGE_POLL_AFTER": "4s", "BRIDGE_POLL_MIN_INTERVAL": "1s",
	}, p.stdin, p.stdout, p.stderr)
	s, l, err := bridge.demoSettings(ctx)
	if err != nil {
		stopSim()
		return nil, err
	}
	runCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	starting, ended := context.WithCancel(ctx)
	go func() {
		defer ended()
		done <- bridge.serve(runCtx, s, l)
	}()
	stop := func() error {
		cancel()
		err := <-done
		stopSim()
		return err
	}
	if !waitReady(starting, l) {
		return nil, errors.Join(stop(), context.Cause(ctx))
	}
	nc, err := connect(ctx, s)
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	return &demonstration{nc: nc, stop: func() error { nc.Close(); return stop() }}, nil
}

// demoSettings finds free ports for everything.
func (p *program) demoSettings(ctx context.Context) (settings, listeners, error) {
	free, err := freeAddr(ctx)
	if err != nil {
		return settings{}, listeners{}, err
	}
	p.environ["BRIDGE_EMBEDDED_ADDR"] = free
	s, err := p.settings(true)
	if err != nil {
		return settings{}, listeners{}, err
	}
	l, err := listen(ctx, s)
	if err != nil {
		return settings{}, listeners{}, err
	}
	s.PublicURL, s.simulated = localURL(l.callback.Addr()), true
	return s, l, nil
}

// play publishes the requests, follows their events, and says at the end whether each had one completion.
func (d *demonstration) play(ctx context.Context, story *story) error {
	requests := demoRequests()
	story.say("bridge", "NATS embedded, Kling SIMULATED: sample results, nothing is paid")
	began := time.Now()
	for _, r := range requests {
		o := events.Options{ID: r.id, Metadata: map[string]string{"Tenant": "demo"}}
		if _, err := d.nc.client.Submit(ctx, r.body, o); err != nil {
			return err
		}
		story.say("you", "request    kling.request.%s  id %s", r.body.Kind(), r.id)
	}
	completions, err := d.follow(ctx, d.nc.client, story, began, len(requests))
	if err != nil {
		return err
	}
	return story.conclude(requests, completions)
}

// follow tells every event until all requests have a completion, and counts those.
func (d *demonstration) follow(
	ctx context.Context, client *events.Client, story *story, since time.Time, want int,
) (map[string][]events.Event, error) {
	completions := map[string][]events.Event{}
	for msg, err := range client.Watch(ctx, events.Filter{Since: since}) {
		if err != nil {
			return nil, err
		}
		story.say("bridge", "%-10s %s  by %s", msg.Type, msg.Subject, msg.Event.Source)
		if msg.Type == events.TypeCompletion {
			completions[msg.Event.RequestID] = append(completions[msg.Event.RequestID], msg.Event)
		}
		if len(completions) == want {
			break
		}
	}
	return completions, nil
}

// story prints what happens, from any goroutine.
type story struct {
	mu    sync.Mutex // guards out
	out   io.Writer
	began time.Time
}

// mute ends the story where it is.
func (s *story) mute() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out = io.Discard
}

func (s *story) say(who, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, "%6.2fs  %-6s  %s\n", time.Since(s.began).Seconds(), who, fmt.Sprintf(format, args...))
}

// kling tells what the simulated Kling does.
func (s *story) kling(e klingtest.Event) {
	switch e.Type {
	case klingtest.Created:
		s.say("kling", "task       %s created, %s", e.Task.ID, e.Task.Kind.Name)
	case klingtest.CallbackAnswered:
		s.say("kling", "callback   %s is %s, answered %d", e.Task.ID, e.Status, e.HTTPStatus)
	case klingtest.CallbackLost:
		s.say("kling", "callback   %s is %s, LOST on purpose", e.Task.ID, e.Status)
	case klingtest.CallbackFailed:
		s.say("kling", "callback   %s is %s: %v", e.Task.ID, e.Status, e.Err)
	case klingtest.Violated:
		s.say("kling", "violation  %s", e.Detail)
	}
}

func (s *story) conclude(requests []demoRequest, completions map[string][]events.Event) error {
	fmt.Fprintf(s.out, "\n%-38s %-13s %-8s %-8s %s\n", "request", "kind", "status", "source", "result")
	for _, r := range requests {
		got := completions[r.id]
		if len(got) != 1 || got[0].Status != events.StatusSucceed {
			return fmt.Errorf("request %s has %d completions, want one that succeeded", r.id, len(got))
		}
		ev := got[0]
		fmt.Fprintf(s.out, "%-38s %-13s %-8s %-8s %.60s…\n", ev.RequestID, ev.Kind, ev.Status, ev.Source, ev.Result.Videos[0].URL)
	}
	fmt.Fprintf(s.out, "\n%d requests, %d completions: one each, "+
		"though the callbacks of one were lost and those of another sent three times.\n",
		len(requests), len(completions))
	return nil
}
