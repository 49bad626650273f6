package chaos_test

// killInBursts ends many tasks at once, so that their completions are stored in batches by the embedded server, and kills
// the program and its server in the middle of that, as often as it is told.
func (w *world) killInBursts(burst, kills int) {
	w.t.Helper()
	victim := w.replicas[0]
	for i := range kills {
		w.ask(burst, fatePlain)
		w.eventually("every request is a task", func() bool {
			return w.count(w.subjects.RequestsStream(), w.subjects.AllRequests()) == 0
		})
		at := []point{pointCompleted, pointAnswered}[i%2]
		sprung := w.trap.set(at, 1+w.rng.IntN(burst/2), victim.kill)
		for _, task := range w.sim.Tasks() {
			if task.Ended() {
				continue
			}
			if err := w.sim.Finish(task.ID); err != nil {
				w.t.Fatal(err)
			}
		}
		w.awaitClosed("the program is killed", sprung)
		w.killed[at]++
		w.pause(longestPause)
		victim.start()
		victim.waitReady()
	}
}

// auditBatches fails the test unless many completions were stored in batches.
func (w *world) auditBatches() {
	w.t.Helper()
	batched := 0
	for token := range w.asked {
		m, err := w.bus.Last(w.ctx, w.subjects.EventsStream(), w.subjects.CompletionOf(token))
		if err != nil {
			w.t.Errorf("completion of %s: %v", token, err)
			continue
		}
		if m.Header.Get("Nats-Batch-Id") != "" {
			batched++
		}
	}
	w.t.Logf("%d of %d completions were stored in batches", batched, len(w.asked))
	if batched < len(w.asked)/10 {
		w.t.Errorf("%d of %d completions were stored in batches, want a tenth at least", batched, len(w.asked))
	}
}
