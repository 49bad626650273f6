package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"
)

// measureStart measures cold starts with the embedded server: on an empty store, on one with many stored events, and the
// server alone on that one, which is what no program could avoid.
func measureStart(ctx context.Context, b *bench) ([]row, error) {
	n := b.of(300_000, 50_000)
	kling := startAccepting()
	defer kling.Close()
	dir, err := b.storedEvents(ctx, n)
	if err != nil {
		return nil, err
	}
	var empty, full []pair
	for round := range b.rounds() {
		b.note("  round %d of %d", round+1, b.rounds())
		fresh, err := b.subdir("fresh")
		if err != nil {
			return nil, err
		}
		freshServer, err := b.subdir("fresh")
		if err != nil {
			return nil, err
		}
		var program, server, programFresh, serverFresh time.Duration
		err = inTurns(round, b.timeProgram(ctx, &program, dir, kling.URL), b.timeServer(ctx, &server, filepath.Join(dir, "nats")),
			b.timeProgram(ctx, &programFresh, fresh, kling.URL), b.timeServer(ctx, &serverFresh, freshServer))
		if err != nil {
			return nil, err
		}
		full = append(full, secondsPair(program, server))
		empty = append(empty, secondsPair(programFresh, serverFresh))
	}
	return []row{
		b.judge("cold start, embedded, empty; the server alone", seconds, reportOnly(), empty),
		b.judge(fmt.Sprintf("  with %d stored events", n), seconds, reportOnly(), full),
	}, nil
}

// timeProgram returns what times a start of the program on a store.
func (b *bench) timeProgram(ctx context.Context, took *time.Duration, dir, kling string) func() error {
	return func() error {
		p, err := b.startBridge(ctx, setup{dataDir: dir, kling: kling})
		if err != nil {
			return err
		}
		*took = p.ready
		p.stop()
		return nil
	}
}

// timeServer returns what times a start of the server alone.
func (b *bench) timeServer(ctx context.Context, took *time.Duration, dir string) func() error {
	return func() error {
		began := time.Now()
		c, _, err := b.startSelf(ctx, natsCommand, "-dir", dir)
		if err != nil {
			return err
		}
		*took = time.Since(began)
		c.stop()
		return nil
	}
}

// storedEvents makes a data directory with that many completions.
func (b *bench) storedEvents(ctx context.Context, n int) (dir string, err error) {
	dir, err = b.subdir("stored")
	if err != nil {
		return "", err
	}
	l, err := b.startLine(ctx, setup{dataDir: dir})
	if err != nil {
		return "", err
	}
	s, err := l.trace(ctx, true)
	l.stop()
	if err != nil {
		return "", err
	}
	b.note("  store %d events", n)
	srv, err := b.startNATS(ctx, filepath.Join(dir, "nats")) // which need not sync them one by one
	if err != nil {
		return "", err
	}
	defer srv.stop()
	return dir, srv.fill(ctx, s, n)
}
