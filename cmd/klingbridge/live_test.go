package main

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klingbridge/klingbridge/events"
)

// TestLiveLine follows a request for five seconds on a terminal.
func TestLiveLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var screen strings.Builder
		line := newLive(&screen, true)
		asked := 0
		err := line.while(t.Context(), askInterval, func(context.Context) (string, bool) {
			asked++
			return "waiting for capacity, 3 before it", asked < 3
		}, func() error {
			time.Sleep(1100 * time.Millisecond)
			line.say("submitted")
			time.Sleep(4 * time.Second)
			line.say("succeed")
			return nil
		})
		if err != nil || asked != 3 {
			t.Errorf("%v, asked %d times, want 3", err, asked)
		}
		got := strings.Split(strings.TrimPrefix(screen.String(), eraseLine), eraseLine)
		if first := got[0]; first != "     0s  waiting for capacity, 3 before it" {
			t.Errorf("first %q", first)
		}
		stays := ""
		for _, part := range got {
			if strings.HasSuffix(part, "\n") {
				stays += part
			}
		}
		if want := "   1.1s  submitted\n   5.1s  succeed\n"; stays != want || got[len(got)-1] != "" {
			t.Errorf("what stays is %q and %q, want %q and nothing", stays, got[len(got)-1], want)
		}
	})
}

// TestLiveLineIsNoLaterThanWhatWasSaid has an answer come that was asked for before a line that says better.
func TestLiveLineIsNoLaterThanWhatWasSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var screen strings.Builder
		line := newLive(&screen, true)
		err := line.while(t.Context(), askInterval, func(context.Context) (string, bool) {
			time.Sleep(time.Second)
			return "being sent to Kling", true
		}, func() error {
			time.Sleep(100 * time.Millisecond)
			line.turn("submitted", "submitted, it is")
			time.Sleep(1500 * time.Millisecond)
			return nil
		})
		if got := screen.String(); err != nil || strings.Contains(got, "being sent") || !strings.Contains(got, "     1s  submitted, it is") {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

// TestLogBesideTheLiveLine writes a line of the log while the line below is there.
func TestLogBesideTheLiveLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var screen strings.Builder
		log := &besideLive{w: &screen}
		_, _ = log.Write([]byte("before\n"))
		line := newLive(&screen, true)
		log.line.Store(line)
		err := line.while(t.Context(), askInterval, func(context.Context) (string, bool) { return "processing", true }, func() error {
			time.Sleep(100 * time.Millisecond)
			_, _ = log.Write([]byte("NATS disconnected\n"))
			return nil
		})
		_, _ = log.Write([]byte("after\n"))
		processing := eraseLine + "     0s  processing"
		want := "before\n" + processing + processing + eraseLine + "NATS disconnected\n" + processing + eraseLine + "after\n"
		if got := screen.String(); err != nil || got != want {
			t.Errorf("got\n%q, %v, want\n%q", got, err, want)
		}
	})
}

// TestLiveLineElsewhere writes nothing but whole lines where there is no terminal.
func TestLiveLineElsewhere(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	line := newLive(&out, false)
	err := line.while(t.Context(), askInterval, nil, func() error {
		line.show("never")
		line.say("submitted")
		return nil
	})
	if got := out.String(); err != nil || got != "     0s  submitted\n" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestHowItGoes(t *testing.T) {
	t.Parallel()
	three, none := 3, 0
	for want, task := range map[string]events.Task{
		"waiting for capacity, 3 before it":  {Status: events.StatusWaiting, Before: &three},
		"waiting for capacity, next in line": {Status: events.StatusWaiting, Before: &none},
		"waiting for its turn, next in line": {Status: events.StatusWaiting, Before: &none, WaitsFor: "its turn"},
		"being sent to Kling":                {Status: events.StatusCreating},
		"waiting for Kling: refused, 2 tries": {
			Status: events.StatusCreating, WaitsFor: "Kling: refused, 2 tries", Wait: &events.Wait{For: events.WaitForAgain},
		},
		"processing; text2video usually takes 1m20s": {Status: events.StatusProcessing},
		"": {Status: events.StatusSucceed},
	} {
		if got := inWords(task, "; text2video usually takes 1m20s"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
