package console_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/klingbridge/klingbridge/bridge/console"
)

// TestLogoutEndsCopiedCookies has somebody keep the cookie of a session that was ended. It opens nothing any more, not even
// at another replica or after a restart, and other sessions go on.
func TestLogoutEndsCopiedCookies(t *testing.T) {
	t.Parallel()
	s := open(t, console.Options{Token: token})
	second := s.replica(console.Options{Token: token})
	copied, other := s.login(), s.login()
	for _, at := range []*site{s, second} {
		at.expect(copied, http.StatusOK, true)
	}
	logout := map[string]string{"Content-Type": "application/json", "Cookie": copied}
	if resp := send(t, "POST", s.url+"/api/logout", logout, `{}`); resp.status != http.StatusNoContent {
		t.Fatalf("logout: status %d: %s", resp.status, resp.body)
	}
	for _, at := range []*site{s, second, s.replica(console.Options{Token: token})} {
		at.expect(copied, http.StatusUnauthorized, false)
		at.expect(other, http.StatusOK, true)
	}
	if resp := send(t, "POST", s.url+"/api/logout", logout, `{}`); resp.status != http.StatusNoContent {
		t.Errorf("logout again: status %d: %s", resp.status, resp.body)
	}
}

// expect looks what a cookie opens.
func (s *site) expect(cookie string, status int, open bool) {
	s.t.Helper()
	header := map[string]string{"Cookie": cookie}
	if resp := send(s.t, "GET", s.url+"/api/dead", header, ""); resp.status != status {
		s.t.Fatalf("a question: status %d, want %d", resp.status, status)
	}
	if status != http.StatusOK {
		if resp := send(s.t, "GET", s.url+"/api/live", header, ""); resp.status != status {
			s.t.Errorf("the stream: status %d, want %d", resp.status, status)
		}
	}
	got := send(s.t, "GET", s.url+"/api/session", header, "")
	if is := strings.Contains(got.body, `"open":true`); is != open {
		s.t.Errorf("the page is told %s, want open: %v", got.body, open)
	}
}

// TestLogoutThatCanNotBeStored says so: nobody is to believe that a cookie has no more use when it will have again.
func TestLogoutThatCanNotBeStored(t *testing.T) {
	t.Parallel()
	s := open(t, console.Options{Token: token})
	cookie := s.login()
	s.stop()
	header := map[string]string{"Content-Type": "application/json", "Cookie": cookie}
	resp := send(t, "POST", s.url+"/api/logout", header, `{}`)
	if resp.status != http.StatusServiceUnavailable || len(resp.cookies) > 0 {
		t.Errorf("logout without NATS: status %d, cookies %v", resp.status, resp.cookies)
	}
}
