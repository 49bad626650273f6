package chaos_test

// killInBursts ends many tasks at once and kills the program, with the server in it, in the middle of their completions,
// as often as it is told.
func (w *world) killInBursts(burst, kills int) {
	w.t.Helper()
	victim := w.replicas[0]
	for i := range kills {
		at := []point{pointCompleted, pointAnswered}[i%2]
		for killed := false; !killed; {
			w.askUntilTasks(burst)
			sprung := w.trap.set(at, 1+w.rng.IntN(burst/2), victim.kill)
			w.finishUntil(sprung)
			w.trap.set("", 0, nil)
			killed = closed(sprung)
		}
		w.killed[at]++
		w.pause(longestPause)
		victim.start()
		victim.waitReady()
	}
}

// askUntilTasks asks for so many tasks and waits until Kling has them.
func (w *world) askUntilTasks(n int) {
	w.t.Helper()
	w.ask(n, fatePlain)
	w.eventually("every request is a task", func() bool {
		return w.count(w.subjects.RequestsStream(), w.subjects.AllRequests()) == 0
	})
}

// finishUntil ends all tasks at once and waits until the trap has sprung, or every request has its completion: on a busy
// machine many end by polls, and fewer pass the point than the trap waits for.
func (w *world) finishUntil(sprung <-chan struct{}) {
	w.t.Helper()
	w.finishAll()
	w.eventually("the program is killed, or all has ended", func() bool {
		return closed(sprung) || w.count(w.subjects.EventsStream(), w.subjects.CompletionOf("*")) == len(w.asked)
	})
}
