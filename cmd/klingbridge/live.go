package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	liveInterval = 500 * time.Millisecond
	// askInterval is how often the bridge is asked how it stands with a request.
	askInterval = 2 * time.Second
)

// live writes lines and, on a terminal, keeps one more below them up to date, which says how long it has been and what
// is going on.
//
// Safe for concurrent use.
type live struct {
	w        io.Writer
	terminal bool
	began    time.Time

	mu   sync.Mutex
	text string // what is going on; empty: no line
}

const eraseLine = "\r\x1b[K"

func newLive(w io.Writer, terminal bool) *live {
	return &live{w: w, terminal: terminal, began: time.Now()}
}

func (l *live) elapsed() time.Duration { return time.Since(l.began).Round(100 * time.Millisecond) }

// say writes a line that stays, after the time it took to come to it.
func (l *live) say(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.terminal {
		fmt.Fprint(l.w, eraseLine)
	}
	fmt.Fprintf(l.w, "%7s  %s\n", l.elapsed(), text)
}

// show changes what the line below says is going on.
func (l *live) show(text string) {
	if !l.terminal {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = text
	l.draw()
}

// draw writes the line below; the caller holds the mutex.
func (l *live) draw() {
	if l.terminal && l.text != "" {
		fmt.Fprintf(l.w, eraseLine+"%7s  %s", l.elapsed().Truncate(time.Second), l.text)
	}
}

// keep draws the line anew now and then and asks, less often, what it shall say, until ctx ends. Then it is gone.
func (l *live) keep(ctx context.Context, every time.Duration, ask func() (text string, ok bool)) {
	tick := time.NewTicker(liveInterval)
	defer tick.Stop()
	var asked time.Time
	for ctx.Err() == nil {
		if time.Since(asked) >= every {
			if text, ok := ask(); ok && ctx.Err() == nil {
				l.show(text)
			}
			asked = time.Now()
		}
		l.mu.Lock()
		l.draw()
		l.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = ""
	fmt.Fprint(l.w, eraseLine)
}

// while runs f with a line that ask keeps up to date, on a terminal.
func (l *live) while(
	ctx context.Context, every time.Duration, ask func(context.Context) (text string, ok bool), f func() error,
) error {
	if !l.terminal {
		return f()
	}
	ctx, cancel := context.WithCancel(ctx)
	var keeping sync.WaitGroup
	keeping.Go(func() { l.keep(ctx, every, func() (string, bool) { return ask(ctx) }) })
	defer keeping.Wait()
	defer cancel()
	return f()
}
