package klingtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	simulatedHeader = "X-Kling-Simulated" // on every response and every callback
	maxViolations   = 1000                // kept; a client at fault is at fault in every call
)

// Server is a simulated Kling account with its API. It serves until it is closed.
type Server struct {
	options Options
	routes  routes
	rules   map[string][]rule // by kind
	files   files
	dice    *dice        // for faults
	ids     *dice        // apart, so that tasks that end in between don't change what is thrown for calls
	http    *http.Client // for callbacks

	webhookKey []byte // signs callbacks; nil: nothing does
	firstID    int64  // no id of this simulation is below

	ctx    context.Context // ends with Close: a server's life is no single call's
	cancel context.CancelFunc
	work   background

	authOutage  atomic.Int64 // Kling's code; zero: none
	maintenance atomic.Bool
	edge        atomic.Pointer[Edge]

	mu         sync.Mutex // guards what follows, and the tasks themselves
	lastID     int64
	tasks      []*task // in the order of creation
	byID       map[string]*task
	byExternal map[string]*task
	byKind     map[string][]*task
	seen       map[string]int // create calls, by external id
	usage      map[place]*usage
	calls      Calls
	credits    int              // tasks that can still be paid for, where limited
	limited    bool             // credits are
	costsAt    time.Time        // of the last cost query
	retired    map[string]Fault // by kind
	sessions   map[string]session
	deleted    map[string]bool // voices and elements
	violations []string
	waiters    []waiter
}

// waiter is told when n tasks are stored.
type waiter struct {
	n       int
	reached chan struct{}
}

// New returns a server, or an error that names everything that is wrong with the options. It starts nothing: the first
// task does.
func New(o Options) (*Server, error) {
	o, err := o.withDefaults()
	key, keyErr := webhookKey(o.WebhookSecret)
	if err := errors.Join(err, keyErr); err != nil {
		return nil, fmt.Errorf("simulated Kling: %w", err)
	}
	ids := newDice(o.Seed, idDice)
	files := newFiles(ids) // whose links are good for each other's: the dice are the same each time
	first := o.startID(ids)
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{
		options:    o,
		routes:     newRoutes(o.Kinds),
		rules:      rulesOf(o.Kinds),
		files:      files,
		dice:       newDice(o.Seed, faultDice),
		ids:        ids,
		webhookKey: key,
		http:       callbackClient(o.CallbackHTTP),
		ctx:        ctx,
		cancel:     cancel,
		work:       background{pending: map[*time.Timer]struct{}{}},
		firstID:    first,
		lastID:     first,
		credits:    o.Credits,
		limited:    o.Credits > 0,
		byID:       map[string]*task{},
		byExternal: map[string]*task{},
		byKind:     map[string][]*task{},
		seen:       map[string]int{},
		retired:    map[string]Fault{},
		sessions:   map[string]session{},
		deleted:    map[string]bool{},
		usage:      map[place]*usage{},
		calls: Calls{
			Sync: map[string]int{}, SyncDone: map[string]int{}, Refused: map[int]int{}, RefusedCreates: map[int]int{},
		},
	}
	return s, nil
}

// Close drops everything that is due, cancels the callbacks on their way, lets go of the calls that hang, and returns
// when nothing of the server runs any more. It may be called again. Views stay readable.
func (s *Server) Close() {
	s.cancel()
	s.work.close()
	s.http.CloseIdleConnections()
}

// SetAuthOutage makes every call end with an authentication or account error from now on, such as 1002 or 1102.
// Zero ends the outage. Tasks that exist go on.
func (s *Server) SetAuthOutage(code int) { s.authOutage.Store(int64(code)) }

// SetMaintenance makes every call end with HTTP 503 and code 5001 while on. Tasks that exist go on.
func (s *Server) SetMaintenance(on bool) { s.maintenance.Store(on) }

// Tasks returns every task in the order of creation.
func (s *Server) Tasks() []TaskView {
	s.mu.Lock()
	defer s.mu.Unlock()
	views := make([]TaskView, len(s.tasks))
	for i, t := range s.tasks {
		views[i] = t.TaskView
	}
	return views
}

// Task returns the task with that task id or external id.
func (s *Server) Task(id string) (TaskView, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.lookup(id)
	if t == nil {
		return TaskView{}, false
	}
	return t.TaskView, true
}

// views returns the tasks with those ids, of either sort.
func (s *Server) views(ids []string) []TaskView {
	s.mu.Lock()
	defer s.mu.Unlock()
	var views []TaskView
	for _, id := range ids {
		if t := s.lookup(id); t != nil {
			views = append(views, t.TaskView)
		}
	}
	return views
}

// lookup finds a task by either id. The caller holds mu.
func (s *Server) lookup(id string) *task {
	if t := s.byID[id]; t != nil {
		return t
	}
	return s.byExternal[id]
}

// Calls returns what was called so far.
func (s *Server) Calls() Calls {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := s.calls
	calls.Refused, calls.RefusedCreates = maps.Clone(calls.Refused), maps.Clone(calls.RefusedCreates)
	calls.Sync, calls.SyncDone = maps.Clone(calls.Sync), maps.Clone(calls.SyncDone)
	return calls
}

// Violations returns what clients did that they shouldn't, refused or not: the first thousand of it. Input that is
// wrong but may come from the client's own users, such as a mode that doesn't exist, is none.
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violations)
}

// WaitTasks returns when n tasks or more were stored since the server was made, or with an error when ctx ends first.
func (s *Server) WaitTasks(ctx context.Context, n int) error {
	s.mu.Lock()
	if len(s.tasks) >= n {
		s.mu.Unlock()
		return nil
	}
	w := waiter{n: n, reached: make(chan struct{})}
	s.waiters = append(s.waiters, w)
	s.mu.Unlock()
	select {
	case <-w.reached:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for %d tasks: %w", n, context.Cause(ctx))
	}
}

// ServeHTTP answers as Kling's API does, serves result files below /files/, and says what it is at /.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(simulatedHeader, "true")
	switch path := r.URL.Path; {
	case path == "/":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, "This is a simulation of Kling AI's API: nothing is generated, nothing is paid for.\n")
	case strings.HasPrefix(path, filesPath):
		s.files.serve(w, r, s.options.Now())
	default:
		s.serveAPI(w, r)
	}
}

func (s *Server) serveAPI(w http.ResponseWriter, r *http.Request) {
	c, known := s.routes.match(r.Method, r.URL.EscapedPath())
	if answer := s.edgeFault(c); answer != nil {
		s.count(c)
		s.respond(w, r, c, answer, notFoundPage)
		return
	}
	if !known {
		s.violate("%s %s: no such route", r.Method, r.URL.Path)
		s.write(w, c, notFoundPage())
		return
	}
	if c.route == "" {
		s.violate("%s %s: wrong method", r.Method, r.URL.Path)
		s.write(w, c, refusal{1202, "method " + r.Method + " is not supported"}.reply())
		return
	}
	s.count(c)
	if refused := s.admit(r, c); refused != nil {
		s.write(w, c, refused.reply())
		return
	}
	if answer := s.retiredFault(c); answer != nil {
		s.respond(w, r, c, answer, notFoundPage)
		return
	}
	fault, handle := s.prepare(r, c)
	s.respond(w, r, c, fault, handle)
}

func (s *Server) count(c call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls.count(c)
}

// admit lets a call in, or says why not.
func (s *Server) admit(r *http.Request, c call) *refusal {
	if s.maintenance.Load() {
		return &refusal{code: 5001}
	}
	if code := int(s.authOutage.Load()); code != 0 {
		return &refusal{code: code}
	}
	return s.authorize(r, c)
}

// prepare reads a call as far as it can be without doing anything. It returns the fault that the call meets and the
// function that handles it.
func (s *Server) prepare(r *http.Request, c call) (Fault, func() reply) {
	switch c.route {
	case RouteCreate:
		return s.create(r, c)
	case RouteQuery:
		return s.queryOne(c)
	case RouteList:
		return s.queryList(r, c)
	case RouteTasks, RouteSolutions:
		return s.queryTasks(r, c)
	case RouteTaskPage, RouteSolutionPage:
		return s.queryPage(r, c)
	case RouteSync:
		return s.syncCall(r, c)
	default:
		return s.queryCosts(r, c)
	}
}

func (s *Server) violate(format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	s.mu.Lock()
	if len(s.violations) < maxViolations {
		s.violations = append(s.violations, what)
	}
	s.mu.Unlock()
	s.options.Logger.WarnContext(s.ctx, "client at fault", "violation", what)
	s.tell(Event{Type: Violated, Detail: what})
}

// tell reports an event. The caller doesn't hold mu, so that the observer may ask the server.
func (s *Server) tell(e Event) {
	s.options.Logger.LogAttrs(s.ctx, slog.LevelDebug, "simulated Kling", slog.String("event", string(e.Type)),
		slog.String("task_id", e.Task.ID), slog.String("status", e.Status), slog.Int("code", e.Code))
	if s.options.Observe == nil {
		return
	}
	e.Time = s.options.Now()
	s.options.Observe(e)
}

// scaled is how long d takes at the speed of this simulation.
func (s *Server) scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) / s.options.Speed)
}
