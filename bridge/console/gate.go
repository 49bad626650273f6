package console

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// gate decides who may see the console.
type gate struct {
	token    [sha256.Size]byte // hash of the token, so that all comparisons take as long
	hasToken bool
	long     bool // the token is: see [LongToken]
	loopback bool
	lasts    time.Duration // a session
	key      []byte        // signs sessions; follows from the token, so that all replicas know it
	origins  *http.CrossOriginProtection
	tries    tries
}

func newGate(o Options) *gate {
	mac := hmac.New(sha256.New, []byte(o.Token))
	mac.Write([]byte("klingbridge console session"))
	return &gate{
		token: sha256.Sum256([]byte(o.Token)), hasToken: o.Token != "", long: len(o.Token) >= LongToken,
		loopback: o.Loopback, lasts: o.Session, key: mac.Sum(nil),
		origins: http.NewCrossOriginProtection(),
		tries:   tries{byAddr: map[string]*tally{}},
	}
}

// howToEnable is what a closed console answers.
const howToEnable = "The console is closed: the admin listener (BRIDGE_ADMIN_ADDR) can be reached from other machines and no " +
	"token is set. Set BRIDGE_ADMIN_TOKEN to a long random value (openssl rand -hex 32) to open it."

// refuse tells why a request gets no further, whoever sent it, or returns nil.
func (g *gate) refuse(r *http.Request) *answerError {
	if !g.hasToken {
		if refusal := g.refuseWithoutToken(r); refusal != nil {
			return refusal
		}
	}
	switch {
	case strings.HasSuffix(r.Header.Get("Sec-Fetch-Site"), "-site") && r.URL.Path != "/":
		return &answerError{http.StatusForbidden, "This request comes from another site."}
	case g.origins.Check(r) != nil:
		return &answerError{http.StatusForbidden, "This request comes from another site."}
	case r.Method == http.MethodPost && !isJSON(r):
		return &answerError{http.StatusUnsupportedMediaType, "Want Content-Type: application/json."}
	default:
		return nil
	}
}

// refuseWithoutToken lets in who is on this machine, and nobody else.
func (g *gate) refuseWithoutToken(r *http.Request) *answerError {
	switch {
	case !g.loopback:
		return &answerError{http.StatusForbidden, howToEnable}
	case !loopbackHost(r.Host):
		// Somebody's page whose name was made to point to this machine.
		return &answerError{http.StatusForbidden, "Without BRIDGE_ADMIN_TOKEN the console answers only to localhost, not to this Host."}
	case forwarded(r):
		return &answerError{http.StatusForbidden, "Through a proxy the console wants a token: set BRIDGE_ADMIN_TOKEN."}
	default:
		return nil
	}
}

// forwarded tells a request that a proxy on this machine has passed on, from who knows where.
func forwarded(r *http.Request) bool {
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via"} {
		if r.Header.Get(name) != "" {
			return true
		}
	}
	return false
}

func isJSON(r *http.Request) bool {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && mediaType == "application/json"
}

func loopbackHost(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

var errLogIn = &answerError{http.StatusUnauthorized, "Log in with the token, BRIDGE_ADMIN_TOKEN."}

// admit tells whether a request may see and do things: it carries a session, which may have been ended since, or the token
// itself, or none is wanted.
func (g *gate) admit(r *http.Request, now time.Time) (login, *answerError) {
	if l, in := g.session(r, now); in || !g.hasToken {
		return l, nil
	}
	token, given := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !given {
		return login{}, errLogIn
	}
	return login{}, g.check(r, token, now)
}

// LongToken is from how many bytes on a token is found by no amount of guessing: half of "openssl rand -hex 32" would do.
const LongToken = 24

// check compares a token. The right one always opens if it is long: others that fail, with the same address where a proxy
// is in front, keep nobody out. A short one could be guessed in the end, so that nothing opens, not even the right one, to
// an address that has failed too often.
func (g *gate) check(r *http.Request, token string, now time.Time) *answerError {
	sum := sha256.Sum256([]byte(token))
	right := g.hasToken && subtle.ConstantTimeCompare(sum[:], g.token[:]) == 1
	if right && g.long {
		return nil
	}
	addr := sender(r)
	if !g.tries.allowed(addr, now) {
		return &answerError{http.StatusTooManyRequests, "Too many failed tries: wait a minute."}
	}
	if !right {
		g.tries.failed(addr, now)
		return &answerError{http.StatusUnauthorized, "That is not the token."}
	}
	return nil
}

// sender is the address that a request comes from; of IPv6 the part that a site has to itself, 64 bits.
func sender(r *http.Request) string {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	addr := from.Addr().Unmap().WithZone("")
	if addr.Is4() {
		return addr.String()
	}
	site, _ := addr.Prefix(64) // fits into any IPv6 address
	return site.String()
}

const (
	maxFailures = 10 // of one address in a window
	window      = time.Minute
	maxAddrs    = 1024 // that are remembered
)

// tries limits how fast tokens can be guessed.
type tries struct {
	mu     sync.Mutex
	byAddr map[string]*tally
}

type tally struct {
	began    time.Time
	failures int
}

func (t *tries) allowed(addr string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if known := t.byAddr[addr]; known != nil && now.Sub(known.began) < window {
		return known.failures < maxFailures
	}
	return len(t.byAddr) < maxAddrs || t.forgetOld(now)
}

// forgetOld makes room, and reports whether there is any: else too many addresses fail at once.
func (t *tries) forgetOld(now time.Time) bool {
	for addr, known := range t.byAddr {
		if now.Sub(known.began) >= window {
			delete(t.byAddr, addr)
		}
	}
	return len(t.byAddr) < maxAddrs
}

func (t *tries) failed(addr string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	known := t.byAddr[addr]
	if known == nil || now.Sub(known.began) >= window {
		known = &tally{began: now}
		t.byAddr[addr] = known
	}
	known.failures++
}
