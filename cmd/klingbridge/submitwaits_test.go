package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klingbridge/klingbridge/events"
)

// TestSubmitSaysWhatARequestWaitsFor has the only slot taken, and no terminal: what waits says why, be it one or many.
func TestSubmitSaysWhatARequestWaitsFor(t *testing.T) {
	t.Parallel()
	environ := freePorts(t)
	environ["BRIDGE_CONCURRENCY"] = "video=1"
	open(t, environ, "dev", "--task-time", "1h", "--submitted-time", "10ms")
	if got := execute(t.Context(), environ, "", "submit", "text2video", "--prompt", "a", "--id", "first"); got.code != 0 {
		t.Fatalf("exit %d: %s", got.code, got.stderr)
	}
	if got := execute(t.Context(), environ, "", "watch", "--id", "first", "--count", "1"); got.code != 0 {
		t.Fatalf("exit %d: %s", got.code, got.stderr)
	}
	var waiting sync.WaitGroup
	for args, says := range map[string]string{
		"text2video - --wait --id one":          "s  waiting for a slot of pool video (1 of 1 taken), ",
		"text2video - --wait --id many --lines": "s  many-2  waiting for a slot of pool video (1 of 1 taken), ",
	} {
		waiting.Go(func() {
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			stderr := newSignalBuffer(says)
			done := make(chan int, 1)
			go func() {
				lines := aBody + "\n"
				if strings.Contains(args, "--lines") {
					lines += aBody + "\n"
				}
				done <- run(ctx, append([]string{"submit"}, strings.Fields(args)...), environ, strings.NewReader(lines), io.Discard, stderr)
			}()
			select {
			case <-stderr.seen:
			case <-time.After(patience):
				t.Errorf("%s: does not say %q:\n%s", args, says, stderr)
			}
			interrupt()
			<-done
		})
	}
	waiting.Wait()
}

// TestEachReasonToWaitIsToldOnce waits for half an hour, for one thing after the other.
func TestEachReasonToWaitIsToldOnce(t *testing.T) {
	waits := func(text string, why events.WaitReason) events.Task {
		return events.Task{Status: events.StatusWaiting, WaitsFor: text, Wait: &events.Wait{For: why}}
	}
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		line := newLive(&out, false)
		asked := 0
		ask := func(context.Context) (events.Task, bool) {
			asked++
			slot := waits(fmt.Sprintf("a slot of pool video (%d of 20 taken)", 20+asked%2), events.WaitForSlot)
			switch {
			case asked == 1:
				return waits("Kling: refused, 1 try, next in 2 s", events.WaitForAgain), true
			case asked < 20:
				return waits(fmt.Sprintf("Kling: refused, %d tries, next in %d s", asked, 60-asked), events.WaitForAgain), true
			case asked == 30:
				return events.Task{}, false // the bridge does not answer
			case asked%3 == 0:
				return waits("its turn", events.WaitForTurn), true // a slot became free, and another request takes it
			case asked == 100:
				line.turn("submitted", "submitted")
				return waits("what is past", events.WaitForPause), true
			case asked > 100:
				return events.Task{Status: events.StatusSubmitted}, true
			default:
				return slot, true
			}
		}
		err := line.tellWaits(t.Context(), ask, waitInWords, func() error {
			time.Sleep(30 * time.Minute)
			return nil
		})
		want := "     2s  waiting for Kling: refused, 1 try, next in 2 s\n" +
			"  3m12s  waiting for a slot of pool video (20 of 20 taken), next in line\n" +
			" 16m32s  submitted\n"
		if got := out.String(); err != nil || got != want {
			t.Errorf("got\n%s, %v, want\n%s", got, err, want)
		}
	})
}
