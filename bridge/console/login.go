package console

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const cookieName = "klingbridge_console"

// sessionCookie is the proof that its holder has shown the token: when it ends, and what tells it from others, signed. No
// replica keeps anything.
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
	end, _, _ := strings.Cut(name, "-")
	unix, err := strconv.ParseInt(end, 10, 64)
	l = login{name, time.Unix(unix, 0)}
	return l, err == nil && now.Before(l.end)
}

// streamTime is how long a stream of a session lasts. The page opens it again, with the cookie if it still has one: so a
// stream outlives a logout at another replica, which does not know of it, by no more than that.
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
