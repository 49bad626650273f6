package console_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/klingbridge/klingbridge/bridge/console"
)

const token = "correct-horse-battery-staple"

// serve serves a console that is not connected to NATS: who gets past the gate is answered 503.
func serve(t *testing.T, o console.Options) string {
	t.Helper()
	web := httptest.NewServer(console.New(o))
	t.Cleanup(web.Close)
	return web.URL
}

// TestGate holds who may ask what to a table.
func TestGate(t *testing.T) {
	t.Parallel()
	const json, past = "application/json", http.StatusServiceUnavailable
	urls := map[string]string{
		"loopback": serve(t, console.Options{Loopback: true}),
		"open":     serve(t, console.Options{}),
		"token":    serve(t, console.Options{Token: token}),
	}
	for name, test := range map[string]struct {
		site, method, path string
		header             map[string]string
		want               int
	}{
		"loopback, page":                 {"loopback", "GET", "/", nil, 200},
		"loopback, question":             {"loopback", "GET", "/api/dead", nil, past},
		"loopback, by another name":      {"loopback", "GET", "/api/dead", map[string]string{"Host": "evil.example"}, 403},
		"loopback, by localhost":         {"loopback", "GET", "/api/dead", map[string]string{"Host": "localhost:8081"}, past},
		"loopback, from another site":    {"loopback", "GET", "/api/live", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		"loopback, from another port":    {"loopback", "GET", "/api/live", map[string]string{"Sec-Fetch-Site": "same-site"}, 403},
		"loopback, through a proxy":      {"loopback", "GET", "/api/dead", map[string]string{"X-Forwarded-For": "8.8.8.8"}, 403},
		"loopback, a link from there":    {"loopback", "GET", "/", map[string]string{"Sec-Fetch-Site": "cross-site"}, 200},
		"loopback, no such page":         {"loopback", "GET", "/static/nothing.js", nil, 404},
		"replay":                         {"loopback", "POST", "/api/dead/replay", map[string]string{"Content-Type": json}, past},
		"replay, as a form":              {"loopback", "POST", "/api/dead/replay", map[string]string{"Content-Type": "text/plain"}, 415},
		"replay, by a link":              {"loopback", "GET", "/api/dead/replay", nil, 405},
		"replay, cross-site":             {"loopback", "POST", "/api/dead/replay", map[string]string{"Content-Type": json, "Sec-Fetch-Site": "cross-site"}, 403},
		"replay, same site, other host":  {"loopback", "POST", "/api/dead/replay", map[string]string{"Content-Type": json, "Sec-Fetch-Site": "same-site"}, 403},
		"replay, old browser elsewhere":  {"loopback", "POST", "/api/dead/replay", map[string]string{"Content-Type": json, "Origin": "https://evil.example"}, 403},
		"off loopback, page":             {"open", "GET", "/", nil, 403},
		"off loopback, question":         {"open", "GET", "/api/tasks", nil, 403},
		"off loopback, any bearer":       {"open", "GET", "/api/tasks", map[string]string{"Authorization": "Bearer "}, 403},
		"off loopback, by localhost":     {"open", "GET", "/api/tasks", map[string]string{"Host": "localhost"}, 403},
		"token, page":                    {"token", "GET", "/", map[string]string{"Host": "bridge.example"}, 200},
		"token, not shown":               {"token", "GET", "/api/tasks", nil, 401},
		"token, live not shown":          {"token", "GET", "/api/live", nil, 401},
		"token, shown":                   {"token", "GET", "/api/tasks", map[string]string{"Authorization": "Bearer " + token}, past},
		"token, another":                 {"token", "GET", "/api/tasks", map[string]string{"Authorization": "Bearer guess"}, 401},
		"token, empty":                   {"token", "GET", "/api/tasks", map[string]string{"Authorization": "Bearer "}, 401},
		"token, a session made up":       {"token", "GET", "/api/tasks", map[string]string{"Cookie": "klingbridge_console=99999999999.00"}, 401},
		"token, replay without":          {"token", "POST", "/api/dead/replay", map[string]string{"Content-Type": json}, 401},
		"token, replay from another one": {"token", "POST", "/api/dead/replay", map[string]string{"Content-Type": json, "Sec-Fetch-Site": "cross-site", "Authorization": "Bearer " + token}, 403},
	} {
		resp := send(t, test.method, urls[test.site]+test.path, test.header, `{"id":"x"}`)
		if resp.status != test.want {
			t.Errorf("%s: status %d, want %d: %s", name, resp.status, test.want, resp.body)
		}
		policy := resp.header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'; script-src 'self'; style-src 'self';") || strings.Contains(policy, "unsafe") ||
			!strings.Contains(policy, "frame-ancestors 'none'") || resp.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: browsers are told %v", name, resp.header)
		}
		if test.site == "open" && !strings.Contains(resp.body, "BRIDGE_ADMIN_TOKEN") {
			t.Errorf("%s: does not say how to open the console", name)
		}
	}
}

// TestLogin logs in and out.
func TestLogin(t *testing.T) {
	t.Parallel()
	url := serve(t, console.Options{Token: token})
	header := map[string]string{"Content-Type": "application/json"}
	resp := send(t, "POST", url+"/api/login", header, `{"token":"`+token+`"}`)
	if resp.status != http.StatusNoContent || len(resp.cookies) != 1 {
		t.Fatalf("login: status %d, cookies %v", resp.status, resp.cookies)
	}
	cookie := resp.cookies[0]
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || strings.Contains(cookie.Value, token) {
		t.Errorf("cookie %v", cookie)
	}
	session := map[string]string{"Cookie": cookie.Name + "=" + cookie.Value}
	if resp := send(t, "GET", url+"/api/tasks", session, ""); resp.status != http.StatusServiceUnavailable {
		t.Errorf("with the session: status %d, want past the gate", resp.status)
	}
	other := serve(t, console.Options{Token: "another token"})
	if resp := send(t, "GET", other+"/api/tasks", session, ""); resp.status != http.StatusUnauthorized {
		t.Errorf("with the session of another token: status %d", resp.status)
	}
	end, signature, _ := strings.Cut(cookie.Value, ".")
	longer := map[string]string{"Cookie": cookie.Name + "=9" + end + "." + signature}
	if resp := send(t, "GET", url+"/api/tasks", longer, ""); resp.status != http.StatusUnauthorized {
		t.Errorf("with a session made longer: status %d", resp.status)
	}
	resp = send(t, "POST", url+"/api/logout", header, `{}`)
	if len(resp.cookies) != 1 || resp.cookies[0].MaxAge >= 0 {
		t.Errorf("logout leaves the cookie: %v", resp.cookies)
	}
}

// guess sends ten wrong tokens, which is all that are taken in a minute from one address, and one more.
func guess(t *testing.T, url string) {
	t.Helper()
	header := map[string]string{"Content-Type": "application/json"}
	for range 10 {
		if resp := send(t, "POST", url+"/api/login", header, `{"token":"guess"}`); resp.status != http.StatusUnauthorized {
			t.Fatalf("a guess: status %d", resp.status)
		}
	}
	resp := send(t, "POST", url+"/api/login", header, `{"token":"guess"}`)
	if resp.status != http.StatusTooManyRequests || resp.header.Get("Retry-After") == "" {
		t.Errorf("after ten guesses: status %d", resp.status)
	}
}

// TestGuessingLocksNobodyOut lets the right token in while somebody with the same address, as behind one proxy, guesses.
func TestGuessingLocksNobodyOut(t *testing.T) {
	t.Parallel()
	url := serve(t, console.Options{Token: token})
	guess(t, url)
	header := map[string]string{"Content-Type": "application/json"}
	if resp := send(t, "POST", url+"/api/login", header, `{"token":"`+token+`"}`); resp.status != http.StatusNoContent {
		t.Errorf("login after ten guesses: status %d", resp.status)
	}
	resp := send(t, "GET", url+"/api/tasks", map[string]string{"Authorization": "Bearer " + token}, "")
	if resp.status != http.StatusServiceUnavailable {
		t.Errorf("as bearer after ten guesses: status %d, want past the gate", resp.status)
	}
	resp = send(t, "GET", url+"/api/tasks", map[string]string{"Authorization": "Bearer guess"}, "")
	if resp.status != http.StatusTooManyRequests {
		t.Errorf("a guess as bearer: status %d", resp.status)
	}
}

// TestGuessingAShortToken gives up on who guesses, even when the guess is right at last: else it would be found. Who has
// a session stays in.
func TestGuessingAShortToken(t *testing.T) {
	t.Parallel()
	const short = "hunter2"
	var log bytes.Buffer
	url := serve(t, console.Options{Token: short, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "BRIDGE_ADMIN_TOKEN") || strings.Contains(log.String(), short) {
		t.Errorf("the log says %q", log.String())
	}
	header := map[string]string{"Content-Type": "application/json"}
	cookie := send(t, "POST", url+"/api/login", header, `{"token":"`+short+`"}`).cookies[0]
	guess(t, url)
	if resp := send(t, "POST", url+"/api/login", header, `{"token":"`+short+`"}`); resp.status != http.StatusTooManyRequests {
		t.Errorf("login after ten guesses: status %d", resp.status)
	}
	resp := send(t, "GET", url+"/api/tasks", map[string]string{"Authorization": "Bearer " + short}, "")
	if resp.status != http.StatusTooManyRequests {
		t.Errorf("as bearer after ten guesses: status %d", resp.status)
	}
	resp = send(t, "GET", url+"/api/tasks", map[string]string{"Cookie": cookie.Name + "=" + cookie.Value}, "")
	if resp.status != http.StatusServiceUnavailable {
		t.Errorf("with a session after ten guesses: status %d, want past the gate", resp.status)
	}
}

// TestGuessingFromManyAddresses takes all addresses that an IPv6 site has for one.
func TestGuessingFromManyAddresses(t *testing.T) {
	t.Parallel()
	c := console.New(console.Options{Token: token})
	for i, test := range []struct {
		from string
		want int
	}{
		9:  {"[2001:db8:0:1:ffff::9]:1", http.StatusUnauthorized},
		10: {"[2001:db8:0:1:ffff::10]:1", http.StatusTooManyRequests},
		11: {"[2001:db8:0:2::1]:1", http.StatusUnauthorized},
		12: {"192.0.2.1:1", http.StatusUnauthorized},
		13: {"", http.StatusUnauthorized},
	} {
		if i < 9 {
			test.from, test.want = fmt.Sprintf("[2001:db8:0:1::%d]:1", i), http.StatusUnauthorized
		}
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/tasks", http.NoBody)
		req.RemoteAddr = test.from
		req.Header.Set("Authorization", "Bearer guess")
		resp := httptest.NewRecorder()
		c.ServeHTTP(resp, req)
		if resp.Code != test.want {
			t.Errorf("guess %d, from %s: status %d, want %d", i, test.from, resp.Code, test.want)
		}
	}
}
