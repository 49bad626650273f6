package console

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/klingbridge/klingbridge/events"
)

// answerError is an answer that is no.
type answerError struct {
	code    int
	message string
}

func (e *answerError) Error() string { return e.message }

// HTTPStatus is the status of the answer.
func (e *answerError) HTTPStatus() int { return e.code }

func (c *Console) routes() http.Handler {
	mux := http.NewServeMux()
	addAssets(mux)
	mux.HandleFunc("GET /api/session", c.serveSession)
	mux.HandleFunc("POST /api/login", c.serveLogin)
	mux.HandleFunc("POST /api/logout", c.serveLogout)
	mux.HandleFunc("GET /api/live", c.guarded(c.serveLive))
	mux.HandleFunc("GET /api/tasks", c.question(func(s *session, r *http.Request) (any, error) {
		q, err := taskQuery(r)
		if err != nil {
			return nil, err
		}
		return s.source.List(r.Context(), q)
	}))
	mux.HandleFunc("GET /api/task", c.question(func(s *session, r *http.Request) (any, error) {
		return s.story(r.Context(), r.FormValue("id"))
	}))
	mux.HandleFunc("GET /api/search", c.question(func(s *session, r *http.Request) (any, error) {
		return s.search(r.Context(), strings.TrimSpace(r.FormValue("q")))
	}))
	mux.HandleFunc("GET /api/dead", c.question(func(s *session, r *http.Request) (any, error) {
		return s.source.DeadList(r.Context(), pageQuery(r))
	}))
	mux.HandleFunc("POST /api/task/cancel", c.question(func(s *session, r *http.Request) (any, error) {
		return byID(r, s.source.Cancel)
	}))
	mux.HandleFunc("GET /api/prompts", c.question(func(s *session, r *http.Request) (any, error) {
		return s.prompts(r.Context(), r.URL.Query()["id"])
	}))
	mux.HandleFunc("POST /api/task/again", c.question((*session).again))
	mux.HandleFunc("POST /api/task/new", c.question((*session).submit))
	mux.HandleFunc("GET /api/kinds", c.question(func(s *session, _ *http.Request) (any, error) {
		return map[string]any{"kinds": s.kinds()}, nil
	}))
	mux.HandleFunc("POST /api/dead/dismiss", c.question(func(s *session, r *http.Request) (any, error) {
		return byID(r, func(ctx context.Context, id string) (map[string]bool, error) {
			return map[string]bool{"dismissed": true}, s.source.Dismiss(ctx, id)
		})
	}))
	mux.HandleFunc("POST /api/dead/replay", c.question(func(s *session, r *http.Request) (any, error) {
		return byID(r, s.source.Replay)
	}))
	return c.checked(mux)
}

// policy lets the page load its own files and show results from anywhere, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src https: http: 'self'; " +
	"media-src https: http: 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// checked puts on every answer what browsers are to enforce, and refuses what nobody may ask.
func (c *Console) checked(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		refused := c.gate.refuse(r)
		if refused == nil {
			next.ServeHTTP(w, r)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/api/") {
			c.fail(w, r, refused)
			return
		}
		http.Error(w, refused.message, refused.code)
	})
}

// guarded answers those who may ask, while there is somebody to answer.
func (c *Console) guarded(answer func(*session, http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		l, refused := c.gate.admit(r, time.Now())
		if refused != nil {
			c.fail(w, r, refused)
			return
		}
		err := c.within(r, func(s *session, r *http.Request) error {
			if err := s.stillIn(r.Context(), l); err != nil {
				return err
			}
			return answer(s, w, r)
		})
		if err != nil {
			c.fail(w, r, err)
		}
	}
}

// within runs f while there is a connection to NATS, and ends it with that.
func (c *Console) within(r *http.Request, f func(*session, *http.Request) error) error {
	s := c.live.Load()
	if s == nil {
		return errStarting
	}
	ctx, leave, ok := s.enter(r.Context())
	if !ok {
		return errStarting
	}
	defer leave()
	return f(s, r.WithContext(ctx))
}

var errStarting = &answerError{http.StatusServiceUnavailable, "The bridge has no connection to NATS yet; /readyz says more."}

// questionTime bounds one answer.
const questionTime = 8 * time.Second

func (c *Console) question(ask func(*session, *http.Request) (any, error)) http.HandlerFunc {
	return c.guarded(func(s *session, w http.ResponseWriter, r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), questionTime)
		defer cancel()
		answer, err := ask(s, r.WithContext(ctx))
		if err != nil {
			return err
		}
		writeJSON(w, http.StatusOK, answer)
		return nil
	})
}

func taskQuery(r *http.Request) (events.TaskQuery, error) {
	q := events.TaskQuery{
		Kind: r.FormValue("kind"), Source: events.Source(r.FormValue("source")), PageQuery: pageQuery(r),
		Prefix: r.FormValue("prefix"),
	}
	meta, err := metadata(r.FormValue("meta"))
	if err != nil {
		return q, err
	}
	q.Metadata = meta
	if err := q.Statuses.UnmarshalText([]byte(r.FormValue("status"))); err != nil {
		return q, err
	}
	since := r.FormValue("since")
	if since == "" {
		return q, nil
	}
	at, err := time.Parse(time.RFC3339, since)
	if err != nil {
		return q, &answerError{http.StatusBadRequest, "since: want a time such as 2026-11-01T12:00:00Z."}
	}
	q.Since = events.At(at)
	return q, nil
}

func pageQuery(r *http.Request) events.PageQuery {
	limit, _ := strconv.Atoi(r.FormValue("limit")) // 0 is the default
	return events.PageQuery{Limit: limit, Cursor: r.FormValue("cursor")}
}

// maxBody bounds what is posted, in bytes.
const maxBody = 4 << 10

func decode(r *http.Request, into any) error { return decodeUpTo(r, maxBody, into) }

func decodeUpTo(r *http.Request, most int64, into any) error {
	if err := json.NewDecoder(http.MaxBytesReader(nil, r.Body, most)).Decode(into); err != nil {
		return &answerError{http.StatusBadRequest, "Want a JSON object: " + err.Error()}
	}
	return nil
}

func byID[A any](r *http.Request, f func(context.Context, string) (A, error)) (any, error) {
	var body struct {
		ID string `json:"id"`
	}
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	return f(r.Context(), body.ID)
}

// serveSession tells the page, before anybody has logged in, what it has to be. It is no secret.
func (c *Console) serveSession(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, map[string]bool{
		"token": c.gate.hasToken, "open": c.isOpen(r), "simulated": c.opts.Simulated,
	})
}

// isOpen reports whether a page may ask without logging in. While there is no connection to NATS it may try.
func (c *Console) isOpen(r *http.Request) bool {
	l, in := c.gate.session(r, time.Now())
	if !in {
		return !c.gate.hasToken
	}
	err := c.within(r, func(s *session, r *http.Request) error { return s.stillIn(r.Context(), l) })
	return !errors.Is(err, errLogIn)
}

func (c *Console) serveLogin(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Token string `json:"token"`
	}
	if err := decode(r, &body); err != nil {
		c.fail(w, r, err)
		return
	}
	now := time.Now()
	if refused := c.gate.check(r, body.Token, now); refused != nil {
		c.fail(w, r, refused)
		return
	}
	http.SetCookie(w, c.gate.sessionCookie(r, now))
	w.WriteHeader(http.StatusNoContent)
}

// serveLive ends the stream of a session with that. It looks once more, for a logout that came before the stream was known.
func (c *Console) serveLive(s *session, w http.ResponseWriter, r *http.Request) error {
	now := time.Now()
	if login, in := c.gate.session(r, now); in {
		ctx, ended := c.logins.stream(r.Context(), login, now)
		defer ended()
		r = r.WithContext(ctx)
		if err := s.stillIn(ctx, login); err != nil {
			return err
		}
	}
	return s.serveLive(w, r)
}

// serveLogout confirms what is stored.
func (c *Console) serveLogout(w http.ResponseWriter, r *http.Request) {
	if login, in := c.gate.session(r, time.Now()); in {
		err := c.within(r, func(s *session, r *http.Request) error { return s.logOut(r.Context(), login) })
		if err != nil {
			c.fail(w, r, err)
			return
		}
		c.logins.end(login)
	}
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
	w.WriteHeader(http.StatusNoContent)
}

// fail answers with an error. What is nobody's fault is logged.
func (c *Console) fail(w http.ResponseWriter, r *http.Request, err error) {
	code := http.StatusInternalServerError
	var known interface{ HTTPStatus() int }
	switch {
	case errors.As(err, &known):
		code = known.HTTPStatus()
	case r.Context().Err() != nil || errors.Is(err, context.Canceled):
		code = http.StatusServiceUnavailable
	default:
		c.opts.Logger.WarnContext(r.Context(), "console", slog.String("path", r.URL.Path), slog.Any("err", err))
	}
	if code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	writeJSON(w, code, map[string]string{"error": err.Error()})
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // the page is gone
}
