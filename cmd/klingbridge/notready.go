package main

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/klingbridge/klingbridge/events"
)

const (
	// uneasyAfter is how long it takes until somebody who waits is told what keeps the bridge from being ready.
	uneasyAfter = 2 * time.Second
	// uneasyEvery is how often that is asked again.
	uneasyEvery = 10 * time.Second
	// whyTimeout bounds one question: what it finds is only good to know.
	whyTimeout = 2 * time.Second
)

// notReady begins what a bridge says of itself that is not ready.
const notReady = "the bridge is not ready: "

// whyNotReady asks a bridge what keeps it from being ready, and says it. It is empty where nothing does, or no bridge
// answers.
func whyNotReady(ctx context.Context, client *events.Client) string {
	ctx, cancel := context.WithTimeout(ctx, whyTimeout)
	defer cancel()
	status, err := client.Status(ctx)
	if err != nil || status.Ready {
		return ""
	}
	return notReady + printable(strings.Join(status.Reasons, "; "))
}

// whileUneasy runs f. Where that takes long it says what keeps the bridge from being ready, each reason once, or, where
// nothing does, what is waited for. It returns what was said last.
func whileUneasy(
	ctx context.Context, client *events.Client, waiting string, say func(string), f func() error,
) (said string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	asking.Go(func() {
		for wait := uneasyAfter; waited(ctx, wait); wait = uneasyEvery {
			why := whyNotReady(ctx, client)
			if why == "" && said == "" && ctx.Err() == nil {
				why = waiting
			}
			if why != "" && why != said {
				said = why
				say(why)
			}
		}
	})
	err = f()
	cancel()
	asking.Wait()
	return said, err
}

// waited reports whether d has passed before ctx ended.
func waited(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
