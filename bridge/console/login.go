package console

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
)

const cookieName = "klingbridge_console"

// sessionCookie is the proof that its holder has shown the token: when it ends, and what tells it from others, signed. So
// every replica knows it. What is kept is only that a session was ended before its time.
func (g *gate) sessionCookie(r *http.Request, now time.Time) *http.Cookie {
	name := strconv.FormatInt(now.Add(g.lasts).Unix(), 10) + "-" + rand.Text()
	return &http.Cookie{
		Name: cookieName, Value: name + "." + g.sign(name), Path: "/", MaxAge: int(g.lasts.Seconds()),
		HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https",
	}
}

func (g *gate) sign(text string) string {
	mac := hmac.New(sha256.New, g.key)
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil))
}

// login is a session: what is signed of its cookie, and when it ends.
type login struct {
	name string
	end  time.Time
}

func (g *gate) session(r *http.Request, now time.Time) (l login, in bool) {
	cookie, err := r.Cookie(cookieName)
	if err != nil || !g.hasToken {
		return l, false
	}
	name, signature, _ := strings.Cut(cookie.Value, ".")
	if !hmac.Equal([]byte(signature), []byte(g.sign(name))) {
		return l, false
	}
	seconds, _, _ := strings.Cut(name, "-")
	unix, err := strconv.ParseInt(seconds, 10, 64)
	if end := time.Unix(unix, 0); err == nil && now.Before(end) {
		return login{name, end}, true
	}
	return l, false
}

// logOut notes for all replicas that a session has ended, so that a copy of its cookie opens nothing. The note is stored as
// long as an event, which is longer than a session lasts.
func (s *session) logOut(ctx context.Context, l login) error {
	ctx, cancel := context.WithTimeout(ctx, questionTime)
	defer cancel()
	msg := nats.NewMsg(s.subjects.Put(s.subjects.Logout(l.name)))
	msg.Header.Set(jetstream.MsgIDHeader, l.name+".logout")
	if _, err := s.bus.Publish(ctx, msg); err != nil {
		return &answerError{http.StatusServiceUnavailable, "The session goes on, its end could not be stored: " + err.Error()}
	}
	return nil
}

// loggedOut reports whether somebody has ended a session, at any replica.
func (s *session) loggedOut(ctx context.Context, l login) (bool, error) {
	_, err := s.bus.Last(ctx, s.subjects.EventsStream(), s.subjects.Logout(l.name))
	if errors.Is(err, bus.ErrNoMessage) {
		return false, nil
	}
	return err == nil, err
}

// stillIn refuses who comes with a session that has ended. Others have none, and a zero login.
func (s *session) stillIn(ctx context.Context, l login) error {
	if l.name == "" {
		return nil
	}
	out, err := s.loggedOut(ctx, l)
	switch {
	case err != nil:
		return &answerError{http.StatusServiceUnavailable, "Whether the session has ended can't be read: " + err.Error()}
	case out:
		return errLogIn
	default:
		return nil
	}
}

// streamTime is how long a stream of a session lasts. The page opens it again, if its session has not ended: so a stream
// outlives a logout at another replica by no more than that.
const streamTime = 5 * time.Minute

// logins knows the streams of each session, to end them with it.
type logins struct {
	mu      sync.Mutex
	streams map[*context.CancelFunc]string // names of sessions
}

func newLogins() *logins { return &logins{streams: map[*context.CancelFunc]string{}} }

// stream returns a context that ends with the session, and what is to be called when the stream has ended.
func (l *logins) stream(ctx context.Context, s login, now time.Time) (context.Context, func()) {
	end := now.Add(streamTime)
	if s.end.Before(end) {
		end = s.end
	}
	ctx, cancel := context.WithDeadline(ctx, end)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.streams[&cancel] = s.name
	return ctx, func() {
		cancel()
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.streams, &cancel)
	}
}

// end ends the streams of a session.
func (l *logins) end(s login) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for cancel, name := range l.streams {
		if name == s.name {
			(*cancel)()
		}
	}
}
