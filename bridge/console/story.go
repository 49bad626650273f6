package console

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

// story is one request's life.
type story struct {
	Task    events.Task `json:"task"`
	Asked   asked       `json:"asked"`    // read from the whole body, of which the task has the beginning
	TraceID string      `json:"trace_id"` // empty: no event has been published
	// TraceURL leads to the trace; empty: traces are not linked to.
	TraceURL string `json:"trace_url"`
	Steps    []step `json:"steps"` // in the order of their times
	Units    string `json:"units"`
	// Result is that of the completion, or of what came after it.
	Result  *events.Result        `json:"result"`
	Archive []events.ArchivedFile `json:"archive"`
	// Kling is the task as Kling sent it, as text so that no digit of a number is lost; empty where it is too large.
	Kling string `json:"kling"`
}

// step is one event of a story. The first one, the request itself, has no sequence.
type step struct {
	Type    string        `json:"type"` // requested, progress, completion, late, archived
	Status  events.Status `json:"status"`
	At      events.Time   `json:"at"` // when it was stored
	Source  string        `json:"source"`
	Message string        `json:"message"`
	Error   *events.Error `json:"error"`
	Seq     uint64        `json:"seq"`
}

// maxKling is how much is shown of what Kling sent, in bytes.
const maxKling = 64 << 10

// story tells everything that is known of a request.
func (s *session) story(ctx context.Context, id string) (*story, error) {
	answer, err := s.source.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	told := &story{
		Task:    answer.Task,
		Steps:   []step{{Type: "requested", At: answer.Task.RequestedAt}},
		Archive: []events.ArchivedFile{},
	}
	body, err := s.source.Body(ctx, id)
	if err != nil {
		return nil, err
	}
	told.Asked = describeBody(body)
	told.TraceID = answer.Task.TraceID
	stream := s.subjects.EventsStream()
	var subjects []string
	err = s.bus.Subjects(ctx, stream, s.subjects.EventsOf(events.Token(answer.Task.RequestID)), func(subject string) {
		subjects = append(subjects, subject)
	})
	if err != nil {
		return nil, err
	}
	for _, subject := range subjects {
		if err := s.read(ctx, told, stream, subject); err != nil {
			return nil, fmt.Errorf("event on %s: %w", subject, err)
		}
	}
	if s.traceURL != "" && told.TraceID != "" {
		told.TraceURL = strings.ReplaceAll(s.traceURL, "{trace_id}", told.TraceID)
	}
	slices.SortStableFunc(told.Steps, func(a, b step) int { return cmp.Compare(a.Seq, b.Seq) })
	return told, nil
}

// read adds the events of one subject, of which there are several where a task was made again.
func (s *session) read(ctx context.Context, told *story, stream, subject string) error {
	for seq := uint64(1); ; {
		m, err := s.bus.Next(ctx, stream, subject, seq)
		if errors.Is(err, bus.ErrNoMessage) {
			return nil
		}
		if err == nil {
			err = told.add(s.subjects, m)
		}
		if err != nil {
			return err
		}
		seq = m.Seq + 1
	}
}

func (t *story) add(s subjects.Subjects, m *bus.Message) error {
	p, ok := s.Parse(m.Subject)
	if !ok {
		return nil
	}
	line := step{
		Type: string(p.Type), Status: p.Status, At: events.At(m.Time), Source: m.Header.Get(events.HeaderSource), Seq: m.Seq,
	}
	if t.TraceID == "" {
		t.TraceID = traceID(events.HeaderCarrier(m.Header).Get("traceparent"))
	}
	if p.Type == events.TypeArchived {
		var archived events.Archived
		if err := json.Unmarshal(m.Data, &archived); err != nil {
			return err
		}
		t.Archive = archived.Files
	} else {
		var ev events.Event
		if err := json.Unmarshal(m.Data, &ev); err != nil {
			return err
		}
		line.Message, line.Error = ev.Message, ev.Error
		t.learn(p.Parsed, &ev)
	}
	t.Steps = append(t.Steps, line)
	return nil
}

// learn takes from an end of the task what is shown beside the steps.
func (t *story) learn(p events.Parsed, ev *events.Event) {
	if p.Type == events.TypeProgress {
		return
	}
	if ev.Result != nil {
		t.Result = ev.Result
	}
	if ev.Units != "" {
		t.Units = ev.Units
	}
	if len(ev.Kling) > 0 && len(ev.Kling) <= maxKling {
		t.Kling = string(ev.Kling)
	}
}

// traceID is the second part of a W3C traceparent.
func traceID(traceparent string) string {
	parts := strings.Split(traceparent, "-")
	if len(parts) < 4 {
		return ""
	}
	return parts[1]
}
