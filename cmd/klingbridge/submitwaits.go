package main

import (
	"context"
	"regexp"
	"sync"

	"github.com/klingbridge/klingbridge/events"
)

// askAbout asks the bridge about the request that pick names. A bridge that does not answer is no news.
func askAbout(client *events.Client, pick func() (id string)) func(context.Context) (events.Task, bool) {
	return func(ctx context.Context) (events.Task, bool) {
		ctx, cancel := context.WithTimeout(ctx, whyTimeout)
		defer cancel()
		id := pick()
		if id == "" {
			return events.Task{}, false
		}
		task, err := client.Task(ctx, id)
		return task, err == nil
	}
}

// tellWaits says what a request waits for while f runs, each time that the reason is another one: it is for those who are
// shown no line that is kept up to date.
func (l *live) tellWaits(
	ctx context.Context, ask func(context.Context) (events.Task, bool), words func(events.Task) string, f func() error,
) error {
	ctx, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	asking.Go(func() {
		told := ""
		for wait := uneasyAfter; waited(ctx, wait); wait = uneasyEvery {
			turns := l.turned()
			task, ok := ask(ctx)
			if why := waitReason(task); ok && why != "" && why != told && l.sayUnlessTurned(turns, words(task)) {
				told = why
			}
		}
	})
	err := f()
	cancel()
	asking.Wait()
	return err
}

// ticking is what of a reason to wait changes all the time: tries, seconds, slots.
var ticking = regexp.MustCompile(`\d+( try| tries)?`)

// waitReason tells reasons to wait apart. It is empty where nothing but a short while keeps a request from being a task, and
// where an event has told why.
func waitReason(t events.Task) string {
	if t.Status != events.StatusWaiting && t.Status != events.StatusCreating {
		return ""
	}
	if t.Wait != nil && t.Wait.For == events.WaitForTurn {
		return ""
	}
	return ticking.ReplaceAllLiteralString(t.WaitsFor, "")
}

// sayUnlessTurned is say for an answer, which is out of date when something has happened since there were so many turns.
func (l *live) sayUnlessTurned(turns int, text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.turns != turns {
		return false
	}
	l.write(text)
	return true
}
