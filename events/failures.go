package events

import (
	"sync"
	"time"
)

// defaultPending is how many events the server has in hand or waiting for another try where nothing is said.
const defaultPending = 1000

// failures counts how often the handler failed with each event. The zero value keeps none.
type failures struct {
	// most bounds what is kept, by how many events may wait for another try at once. Beyond that some are another process's by
	// now, and the one that failed longest ago is such a one: an event that waits comes again in five minutes at most.
	most int

	mu sync.Mutex
	of map[uint64]failed // by sequence
}

type failed struct {
	times int
	last  time.Time
}

// add counts one more and returns how many there are.
func (f *failures) add(sequence uint64) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.of == nil {
		f.of = map[uint64]failed{}
	}
	n := f.of[sequence].times + 1
	f.of[sequence] = failed{times: n, last: time.Now()}
	if len(f.of) > f.most {
		f.dropOldest()
	}
	return n
}

func (f *failures) dropOldest() {
	var oldest uint64
	var at time.Time
	for sequence, one := range f.of {
		if at.IsZero() || one.last.Before(at) {
			oldest, at = sequence, one.last
		}
	}
	delete(f.of, oldest)
}

func (f *failures) forget(sequence uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.of, sequence)
}
