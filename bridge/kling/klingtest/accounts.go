package klingtest

import (
	"net/http"
	"slices"
	"strings"
)

// Accounts serves several simulated accounts at one address, each with its own credentials, slots, credit and faults. Who calls
// is known by its credentials; who is not known to any is refused by the first.
type Accounts []*Server

// ServeHTTP implements [http.Handler].
func (a Accounts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	for _, s := range a {
		if s.knows(token) {
			s.ServeHTTP(w, r)
			return
		}
	}
	a[0].ServeHTTP(w, r)
}

// knows reports whether a token names the account, whatever it is worth.
func (s *Server) knows(token string) bool {
	if slices.Contains(s.options.APIKeys, token) {
		return true
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	parts := strings.Split(token, ".")
	return len(parts) == 3 && decodeSegment(parts[1], &claims) && claims.Issuer != "" && claims.Issuer == s.options.AccessKey
}

// SetCredits says how many more tasks the account can pay for. Further ones are refused with code 1102. Less than zero: any
// number.
func (s *Server) SetCredits(tasks int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.credits, s.limited = tasks, tasks >= 0
}
