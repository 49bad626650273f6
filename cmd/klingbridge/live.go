package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
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

	mu    sync.Mutex
	text  string // what is going on; empty: no line
	turns int    // how often that was said by what has happened, rather than by an answer
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
	l.write(text)
}

// write is say; the caller holds the mutex.
func (l *live) write(text string) {
	if l.terminal {
		fmt.Fprint(l.w, eraseLine)
	}
	fmt.Fprintf(l.w, "%7s  %s\n", l.elapsed(), text)
}

// turn is say for what changes what is going on. An answer that was asked for before is out of date.
func (l *live) turn(text, now string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write(text)
	l.turns++
	l.text = now
	l.draw()
}

// oneAtATime writes for several goroutines: what is told of a connection comes at any time.
type oneAtATime struct {
	mu sync.Mutex
	w  io.Writer
}

// Write implements [io.Writer].
func (o *oneAtATime) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Write(p)
}

// besideLive writes lines that are not the live line's, such as those of the log, without mixing the two.
type besideLive struct {
	w     io.Writer
	line  atomic.Pointer[live] // nil while there is none
	paced paced                // before it, where no person reads

	journal bool // of systemd is what w leads to
}

func newBesideLive(w io.Writer) *besideLive {
	b := &besideLive{w: w}
	b.paced.w = b
	return b
}

// flush writes what is still gathered.
func (b *besideLive) flush() { b.paced.flush() }

// Write implements [io.Writer].
func (b *besideLive) Write(lines []byte) (int, error) {
	l := b.line.Load()
	if l == nil {
		return b.w.Write(lines)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.terminal && l.text != "" {
		fmt.Fprint(l.w, eraseLine)
	}
	n, err := b.w.Write(lines)
	l.draw()
	return n, err
}

// newLive returns a live line on stderr.
func (p *program) newLive() *live {
	l := newLive(p.stderr, isTerminal(p.stderr))
	p.log.line.Store(l)
	return l
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

func (l *live) turned() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.turns
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
			turns := l.turned()
			if text, ok := ask(); ok && ctx.Err() == nil && l.turned() == turns {
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
