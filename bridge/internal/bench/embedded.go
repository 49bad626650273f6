package main

import "context"

// measureEmbedded compares callbacks where the NATS server is in the process and syncs every write before it
// acknowledges it, as it does in the program. A completion is two such writes, its own and that of the timer which it
// removes, where the plain handler has one: half its rate is the most there can be.
func measureEmbedded(ctx context.Context, b *bench) ([]row, error) {
	plainDir, err := b.subdir("plain")
	if err != nil {
		return nil, err
	}
	plain, err := b.startPlain(ctx, "-embed", plainDir)
	if err != nil {
		return nil, err
	}
	defer plain.stop()
	dir, err := b.subdir("embedded")
	if err != nil {
		return nil, err
	}
	l, err := b.startLine(ctx, setup{dataDir: dir})
	if err != nil {
		return nil, err
	}
	defer l.stop()
	var rates []pair
	for round := range b.rounds() + 1 {
		b.note("  round %d of %d", round, b.rounds())
		n := b.of(4000, 400)
		if round == 0 { // warms up and counts for nothing
			n = 200
		}
		if _, _, err := l.submit(ctx, n); err != nil {
			return nil, err
		}
		var ours, reference barrage
		err := inTurns(round,
			func() (err error) { reference, err = fireAt(ctx, plain.child, plain.shots(n)); return err },
			func() (err error) { ours, err = l.callBack(ctx); return err },
		)
		if err != nil {
			return nil, err
		}
		if round > 0 {
			rates = append(rates, pair{ours.rate, reference.rate})
		}
	}
	return []row{b.judge("callback to completion, embedded, every write synced", perSecond, atLeast(0.47, ratio), rates)}, nil
}
