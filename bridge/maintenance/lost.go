package maintenance

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/store"
)

const (
	// maxListPages bounds the pages of 500 tasks that one sweep reads of the list of one kind.
	maxListPages = 10
	// maxRecentPages bounds those of a list of tasks of many kinds.
	maxRecentPages = 40
	// maxMisses is how many pages in a row may fail before the rest of a list is given up: what Kling answers for one page
	// is no word on the next, but two are one on the list.
	maxMisses = 2
)

// search is one search at Kling for tasks of ours on one account that nothing is known of. What Kling does not answer is noted
// and holds nothing else up; only a store that fails ends it.
type search struct {
	*Reconciler
	account kling.Account

	began  time.Time
	listed map[string]bool // ids of the tasks in lists of their kind
	unread []kling.Kind    // their lists were not read to the end
	failed []error
}

// sweepKling looks at what Kling lists of each account: each V1 kind by itself, and then what was created lately by any
// kind, which only an API key may ask for.
func (rc *Reconciler) sweepKling(ctx context.Context) error {
	var failed []error
	for _, account := range rc.Accounts.All() {
		s := &search{Reconciler: rc, account: account, began: rc.Bus.Now(), listed: map[string]bool{}}
		err := s.run(ctx)
		failed = append(append(failed, s.failed...), err)
		if err != nil {
			break
		}
	}
	return errors.Join(failed...)
}

func (s *search) run(ctx context.Context) error {
	for _, k := range s.Kinds.All() {
		if k.Generation != kling.V1 {
			continue
		}
		if err := s.list(ctx, k); err != nil {
			return err
		}
	}
	if !s.account.Client.HasAPIKey() {
		return nil
	}
	if err := s.recent(ctx, kling.V2); err != nil {
		return err
	}
	return s.recent(ctx, kling.Solutions)
}

// list looks at the list of one kind.
func (s *search) list(ctx context.Context, k kling.Kind) error {
	whole := true
	for page, misses := 1, 0; page <= maxListPages && misses < maxMisses; page++ {
		tasks, err := s.account.Client.List(ctx, k, page, kling.MaxPage)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			s.failed = append(s.failed, err)
			whole = false
			misses++
			continue
		}
		misses = 0
		for _, t := range tasks {
			s.listed[t.ID] = true
			if err := s.adopt(ctx, t, func(string) (kling.Kind, error) { return k, nil }); err != nil {
				return err
			}
		}
		if len(tasks) < kling.MaxPage && whole {
			return nil
		}
	}
	s.unread = append(s.unread, k)
	return nil
}

// recent looks at what was created lately on a query surface of many kinds. What was listed by kind is passed over.
func (s *search) recent(ctx context.Context, g kling.Generation) error {
	cursor := ""
	for range maxRecentPages {
		page, err := s.account.Client.ListRecent(ctx, g, s.began.Add(-s.Lookback), cursor)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			s.failed = append(s.failed, err)
			return nil
		}
		for _, t := range page.Tasks {
			if s.listed[t.ID] {
				continue
			}
			if err := s.adopt(ctx, t, func(token string) (kling.Kind, error) { return s.kindOf(ctx, g, token, t) }); err != nil {
				return err
			}
		}
		if page.Next == "" || page.Next == cursor {
			return nil
		}
		cursor = page.Next
	}
	return nil
}

// adopt hands a task of ours that nothing is known of to the poller. kindOf tells its kind; one without a name puts the
// task off to the next search.
func (s *search) adopt(ctx context.Context, t kling.Task, kindOf func(token string) (kling.Kind, error)) error {
	token, ours := s.Namer.Token(t.ExternalID)
	if !ours || s.began.Sub(t.CreatedAt) < s.Settled || s.began.Sub(t.UpdatedAt) > s.Lookback {
		return nil
	}
	if lost, err := s.isLost(ctx, token); !lost || err != nil {
		return err
	}
	rec, err := s.record(ctx, token, t, kindOf)
	if rec == nil || err != nil {
		return err
	}
	s.Log.WarnContext(ctx, "nothing was known of a task of ours", slog.String("request_id", rec.RequestID),
		slog.String("kind", rec.Kind), slog.String("task_id", t.ID))
	return s.Store.DueNow(ctx, rec)
}

// record is made of the task's request, where that waits still: something before Kling has refused its create call, or the store
// was set back. Else it is made of what its progress tells; nil: nothing tells its kind yet.
func (s *search) record(
	ctx context.Context, token string, t kling.Task, kindOf func(token string) (kling.Kind, error),
) (*store.Record, error) {
	deadline := s.Bus.Now().Add(s.TaskTimeout)
	waiting, err := s.Waiting.ByToken(ctx, token)
	if err != nil {
		return nil, err
	}
	if waiting != nil && waiting.Invalid == nil {
		rec := s.Store.WaitingRecord(waiting, t.ExternalID)
		rec.On(s.account.Name)
		rec.SubmittedAt = t.CreatedAt
		rec.Rebuilt(t.ID, t.ExternalID, deadline)
		return rec, nil
	}
	k, err := kindOf(token)
	if k.Name == "" || err != nil {
		return nil, err
	}
	return s.Store.LostRecord(ctx, s.account.Name, k.Name, token, t, deadline)
}

// isLost reports whether there is neither a record nor a completion, readable or not.
func (rc *Reconciler) isLost(ctx context.Context, token string) (bool, error) {
	for _, filter := range []string{rc.Subjects.StateOf(token), rc.Subjects.CompletionOf(token)} {
		if _, err := rc.Store.Guarded().Last(ctx, filter); !errors.Is(err, bus.ErrNoMessage) {
			return false, err
		}
	}
	return true, nil
}

// kindOf tells the kind of a lost task whose list does not. Its progress does, where that is not lost as well, or the
// query of a V1 kind that knows it. Of any other the kind is known to nobody: Kling echoes nothing that would tell it.
// Its callback is signed for its kind, so it is given the time for that; after its end its outputs have to do, which at
// least the completion's readers can make use of. Every kind of a query surface is polled alike, so the result is right
// even where the kind is not.
func (s *search) kindOf(ctx context.Context, g kling.Generation, token string, t kling.Task) (none kling.Kind, err error) {
	m, err := s.Store.Guarded().Last(ctx, s.Subjects.EventsOf(token))
	if err != nil && !errors.Is(err, bus.ErrNoMessage) {
		return none, err
	}
	if err == nil {
		p, _ := s.Subjects.Parse(m.Subject)
		if k, ok := s.Kinds.Lookup(p.Kind); ok {
			return k, nil
		}
	}
	if g == kling.V2 {
		k, err := s.ask(ctx, t.ID)
		if err != nil { // it may be of the kind that was asked
			s.failed = append(s.failed, err)
			return none, nil
		}
		if k.Name != "" {
			return k, nil
		}
	}
	if !t.Status.Terminal() || s.began.Sub(t.UpdatedAt) < s.Settled {
		return none, nil
	}
	k := s.fitting(g, t)
	s.Log.WarnContext(ctx, "nothing tells the kind of a task of ours: it is taken for one that has such outputs",
		slog.String("request_id", token), slog.String("kind", k.Name), slog.String("task_id", t.ID))
	return k, nil
}

// ask returns the kind whose own query knows a task, of those whose lists are not known, or none.
func (s *search) ask(ctx context.Context, taskID string) (kling.Kind, error) {
	for _, k := range s.unread {
		_, err := s.account.Client.Query(ctx, k, taskID)
		if err == nil {
			return k, nil
		}
		if !kling.Refused(err) {
			return kling.Kind{}, err
		}
	}
	return kling.Kind{}, nil
}

// fitting returns the kind of a generation, the first in the table, that has outputs such as the task's.
func (s *search) fitting(g kling.Generation, t kling.Task) (first kling.Kind) {
	if k, ok := s.Kinds.Lookup(kindOfOutputs(t)); ok && k.Generation == g {
		return k
	}
	still := len(t.Images) > 0 && len(t.Videos) == 0
	for _, k := range s.Kinds.All() {
		if k.Generation != g {
			continue
		}
		if still == (k.Pool != kling.PoolVideo) {
			return k
		}
		first = cmp.Or(first, k)
	}
	return first
}

// kindOfOutputs returns the name of the only kind that has outputs of the types that the task has, or nothing (Kling's
// solution pages, 2026-09).
func kindOfOutputs(t kling.Task) string {
	var w struct {
		Outputs []struct {
			Type string `json:"type"`
		} `json:"outputs"`
	}
	_ = json.Unmarshal(t.Raw, &w) // what can't be read tells nothing
	for _, o := range w.Outputs {
		switch o.Type {
		case "subbed_video", "srt", "ass":
			return "drama-subtitle"
		case "product_image", "model_images", "product_video":
			return "clothing-dupe"
		}
	}
	return ""
}
