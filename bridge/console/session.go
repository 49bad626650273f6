package console

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

// session is the console while there is a connection to NATS.
type session struct {
	ctx      context.Context // ends when the session does
	source   Source
	bus      *bus.Bus
	subjects subjects.Subjects
	log      *slog.Logger
	idle     time.Duration
	traceURL string // with {trace_id} in it

	feed  *feed
	index *index

	// Of the goroutine that refreshes.
	activity *activity // nil while nobody looks
	status   statusView
	statusAt time.Time
	lookedAt time.Time // when somebody last looked

	handlers sync.RWMutex // read-locked by every answer under way
	closed   bool
}

func newSession(ctx context.Context, source Source, b *bus.Bus, subjects subjects.Subjects, o Options) *session {
	return &session{
		ctx: ctx, source: source, bus: b, subjects: subjects, log: o.Logger, idle: o.Idle, traceURL: o.TraceURL,
		feed: newFeed(), index: newIndex(b, subjects),
	}
}

// enter lets an answer begin, unless the session is over. The answer ends with ctx, and must then call leave.
func (s *session) enter(ctx context.Context) (_ context.Context, leave func(), ok bool) {
	s.handlers.RLock()
	if s.closed {
		s.handlers.RUnlock()
		return nil, nil, false
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
		s.handlers.RUnlock()
	}, true
}

// close waits for the answers under way. The session's context has ended.
func (s *session) close() {
	s.handlers.Lock()
	defer s.handlers.Unlock()
	s.closed = true
}

// statusInterval is how often the source is asked for its status while somebody looks.
const statusInterval = 2 * time.Second

// refreshTime bounds what one refresh reads, so that a long history shows its progress.
const refreshTime = 2 * time.Second

// statusView is what the pools do, or why that is not known.
type statusView struct {
	*events.BridgeStatus
	Pauses []Pause `json:"pauses"`
	Error  string  `json:"error,omitempty"`
}

// news is what an open page is told.
type news struct {
	Status   statusView   `json:"status"`
	Activity activityView `json:"activity"`
}

// refresh reads what is new and tells the open pages. While there are none it reads nothing, and after a while forgets
// what it has read.
func (s *session) refresh(ctx context.Context, now time.Time) {
	s.index.dropIdle(now, s.idle)
	if !s.feed.watched() {
		if now.Sub(s.lookedAt) > s.idle {
			s.activity = nil
			s.feed.forget()
		}
		return
	}
	s.lookedAt = now
	ctx, cancel := context.WithTimeout(ctx, refreshTime)
	defer cancel()
	if now.Sub(s.statusAt) >= statusInterval {
		s.askStatus(ctx)
		s.statusAt = now
	}
	if s.activity == nil {
		s.activity = newActivity(s.bus, s.subjects)
		s.tell(now) // that it is loading
	}
	err := s.activity.read(ctx, now)
	s.tell(now)
	if err = errors.Join(err, s.index.keepUp(ctx, now)); err != nil && s.ctx.Err() == nil {
		s.log.DebugContext(ctx, "console: read events", slog.Any("err", err))
	}
}

func (s *session) askStatus(ctx context.Context) {
	status, err := s.source.Status(ctx)
	if err != nil {
		s.status.Error = err.Error() // and the last that was known
		return
	}
	s.status = statusView{BridgeStatus: &status, Pauses: append([]Pause{}, s.source.Pauses()...)}
}

func (s *session) tell(now time.Time) {
	data, err := json.Marshal(news{Status: s.status, Activity: s.activity.view(now)})
	if err != nil {
		s.log.Error("console: encode news", slog.Any("err", err))
		return
	}
	s.feed.tell(data)
}
