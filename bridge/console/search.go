package console

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/klingbridge/klingbridge/events"
)

// found answers a search.
type found struct {
	Task *events.Task `json:"task"` // null: there is none, or not yet
	// By says what the words are: "request id", "task id" or "external id".
	By      string   `json:"by,omitempty"`
	Index   coverage `json:"index"`
	Reading bool     `json:"reading"` // the index is not complete: ask again
}

// indexTime bounds how long one search reads, so that the page can show how far it is.
const indexTime = 3 * time.Second

// search finds a request by its id, by Kling's id of its task, or by the external id it has at Kling.
func (s *session) search(ctx context.Context, words string) (found, error) {
	if words == "" {
		return found{}, &answerError{http.StatusBadRequest, "Want a request id, task id or external id."}
	}
	if token, ok := s.source.TokenOf(words); ok {
		if task, err := s.task(ctx, token); task != nil || err != nil {
			return found{Task: task, By: "external id"}, err
		}
	}
	return s.searchBoth(ctx, words)
}

// searchBoth looks in both places at once: requests that wait are found by reading all of them, and the index may have to
// be read first.
func (s *session) searchBoth(ctx context.Context, id string) (found, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	type answer struct {
		found
		err error
	}
	answers := make(chan answer, 2)
	wg.Go(func() {
		task, err := s.task(ctx, id)
		answers <- answer{found{Task: task, By: "request id"}, err}
	})
	wg.Go(func() {
		result, err := s.searchIndex(ctx, id)
		answers <- answer{result, err}
	})
	var nothing answer
	for range 2 {
		a := <-answers
		if a.Task != nil {
			cancel() // the other one
			return a.found, nil
		}
		nothing.err = errors.Join(nothing.err, a.err)
		if a.Index.Of > 0 {
			nothing.found = a.found
		}
	}
	nothing.By = ""
	return nothing.found, nothing.err
}

func (s *session) searchIndex(ctx context.Context, id string) (found, error) {
	reading, cancel := context.WithTimeout(ctx, indexTime)
	defer cancel()
	token, seen, err := s.index.find(reading, id)
	result := found{Index: seen, Reading: !seen.complete()}
	if err != nil || token == "" {
		return result, err
	}
	result.Task, err = s.task(ctx, token)
	if result.Task != nil && result.Task.TaskID == id {
		result.By = "task id"
	} else {
		result.By = "external id"
	}
	return result, err
}

// task is what is known of a request, or nil. A request's token is an id as good as its own once a replica has taken it
// in hand.
func (s *session) task(ctx context.Context, id string) (*events.Task, error) {
	answer, err := s.source.Get(ctx, id)
	var refused interface{ HTTPStatus() int }
	if errors.As(err, &refused) && refused.HTTPStatus() < http.StatusInternalServerError {
		return nil, nil // not found, or no id at all
	}
	if err != nil {
		return nil, err
	}
	return &answer.Task, nil
}
