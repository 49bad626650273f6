package store

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// resultLifetime is how long Kling keeps a result (its API reference, 2026-10).
const resultLifetime = 30 * 24 * time.Hour

// story is an event with what it refers to, which is one thing to the memory.
type story struct {
	events.Event
	submittedAt, completedAt events.Time
	result                   events.Result
	video                    [1]events.Video // of most results
}

// event fills in what every event says. task is nil where there is none, or where nothing new is known of it.
func (s *Store) event(rec *Record, end End, task *kling.Task, now time.Time) *events.Event {
	return &s.story(rec, end, task, now).Event
}

func (s *Store) story(rec *Record, end End, task *kling.Task, now time.Time) *story {
	st := &story{Event: events.Event{
		RequestID:      rec.RequestID,
		Kind:           rec.Kind,
		Status:         end.status,
		Source:         end.source,
		TaskID:         rec.TaskID,
		ExternalTaskID: rec.ExternalTaskID,
		Account:        rec.Account,
		Message:        end.message,
		RequestedAt:    events.At(rec.RequestedAt),
		PublishedAt:    events.At(now),
		Metadata:       rec.Metadata,
		ReplayOf:       rec.ReplayOf,
		Tries:          rec.Tries,
	}}
	ev := &st.Event
	if ev.Metadata == nil {
		ev.Metadata = map[string]string{}
	}
	submittedAt := rec.SubmittedAt
	if task != nil {
		st.add(task, now)
		if submittedAt.IsZero() { // the callback was faster than the record
			submittedAt = task.CreatedAt
		}
	}
	if !submittedAt.IsZero() {
		st.submittedAt = events.At(submittedAt)
		ev.SubmittedAt = &st.submittedAt
	}
	return st
}

func (st *story) add(t *kling.Task, now time.Time) {
	ev := &st.Event
	if t.ID != "" {
		ev.TaskID = t.ID
	}
	if ev.ExternalTaskID == "" {
		ev.ExternalTaskID = t.ExternalID
	}
	ev.Units = t.Units
	ev.Kling = t.Raw
	if ev.Status == events.StatusSucceed {
		st.result = resultOf(t, now, st.video[:0])
		ev.Result = &st.result
	}
}

// resultOf translates what Kling made; the URLs stay as they are.
func resultOf(t *kling.Task, now time.Time, videos []events.Video) events.Result {
	updated := t.UpdatedAt
	if updated.IsZero() {
		updated = now
	}
	r := events.Result{
		Videos:    slices.Grow(videos, len(t.Videos)),
		Images:    make([]events.Image, 0, len(t.Images)),
		Audios:    make([]events.Audio, 0, len(t.Audios)),
		Files:     make([]events.File, 0, len(t.Files)),
		ExpiresAt: events.At(updated.Add(resultLifetime)),
	}
	for _, v := range t.Videos {
		r.Videos = append(r.Videos, events.Video{
			ID: v.ID, URL: v.URL, DurationSeconds: number(v.Duration), WatermarkURL: v.WatermarkURL,
		})
	}
	for _, i := range t.Images {
		r.Images = append(r.Images, events.Image{Index: i.Index, URL: i.URL, WatermarkURL: i.WatermarkURL})
	}
	for _, a := range t.Audios {
		r.Audios = append(r.Audios, events.Audio{
			ID: a.ID, URLMP3: a.URLMP3, URLWAV: a.URLWAV, DurationSeconds: number(a.Duration),
		})
	}
	for _, f := range t.Files {
		r.Files = append(r.Files, events.File{Type: f.Type, URL: f.URL})
	}
	return r
}

// number keeps Kling's spelling of a duration; what is none that a program can read becomes 0.
func number(s string) json.Number {
	if plainNumber(s) {
		return json.Number(s)
	}
	var n json.Number
	if err := json.Unmarshal([]byte(s), &n); err != nil {
		return "0"
	}
	if seconds, err := n.Float64(); err != nil || seconds < 0 {
		return "0"
	}
	return n
}
