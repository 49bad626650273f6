package chaos_test

// killInBursts ends many tasks at once and kills the program, with the server in it, in the middle of their completions,
// as often as it is told.
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
		w.finishAll()
		w.eventually("the program is killed, or all has ended", func() bool {
			select {
			case <-sprung:
				return true
			default:
				return w.count(w.subjects.EventsStream(), w.subjects.CompletionOf("*")) == len(w.asked)
			}
		})
		w.trap.set(at, 1<<30, func() {})
		select {
		case <-sprung:
		default: // on a busy machine many end by polls, and fewer pass the point than were to
			victim.kill()
			at = pointAnytime
		}
		w.killed[at]++
		w.pause(longestPause)
		victim.start()
		victim.waitReady()
	}
}
