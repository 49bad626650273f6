package dispatch

import "sync"

// workers run jobs. Whoever is done with one takes the next: the stack of a new goroutine has to grow for a create call, and is
// copied for that.
type workers struct {
	run  func(*Job)
	jobs chan *Job // to those that have nothing to do; nil: be gone
	all  sync.WaitGroup
}

func newWorkers(run func(*Job)) *workers { return &workers{run: run, jobs: make(chan *Job)} }

// start has a job run.
func (w *workers) start(j *Job) {
	select {
	case w.jobs <- j:
	default:
		w.all.Go(func() { w.work(j) })
	}
}

func (w *workers) work(j *Job) {
	for ; j != nil; j = <-w.jobs {
		w.run(j)
	}
}

// rest ends those that have nothing to do.
func (w *workers) rest() {
	for {
		select {
		case w.jobs <- nil:
		default:
			return
		}
	}
}

// wait ends all of them, once they are done. No job is started any more.
func (w *workers) wait() {
	close(w.jobs)
	w.all.Wait()
}
