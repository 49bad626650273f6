package klingtest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	maxTokenLife = 30 * time.Minute // Kling's authentication page (2026-10) signs for 1800 s; more is untested
	tokenSkew    = time.Minute      // clocks may be that far apart before a token counts as too long-lived
)

// authorize holds the Authorization header to Kling's rules (authentication page, 2026-10).
func (s *Server) authorize(r *http.Request, c call) *refusal {
	header := strings.Join(r.Header.Values("Authorization"), ", ")
	if header == "" {
		s.violate("%s %s: no Authorization", r.Method, r.URL.Path)
		return &refusal{code: 1001}
	}
	token, ok := strings.CutPrefix(header, "Bearer ")
	if !ok || token == "" || strings.ContainsAny(token, " \t,") {
		s.violate("%s %s: Authorization is not Bearer, one space and a token", r.Method, r.URL.Path)
		return &refusal{code: 1002}
	}
	if slices.Contains(s.options.APIKeys, token) {
		return nil
	}
	parts := strings.Split(token, ".")
	switch { // neither text says what is wrong, and both are recorded so (2026-09)
	case c.keyOnly():
		return &refusal{1002, "please use API Key instead of AK/SK"} // in these words or like them
	case len(parts) != 3:
		return &refusal{1002, "The token was expected to have 3 parts, but got 0"}
	case s.options.AccessKey == "":
		return &refusal{1002, "access key not found"}
	}
	return s.checkJWT(parts[0], parts[1], parts[2])
}

// checkJWT holds a token to the older scheme: HS256 over iss, exp and nbf, in whole seconds.
func (s *Server) checkJWT(header, claims, signature string) *refusal {
	mac := hmac.New(sha256.New, []byte(s.options.SecretKey))
	mac.Write([]byte(header + "." + claims))
	sum, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil || !hmac.Equal(sum, mac.Sum(nil)) {
		return &refusal{1002, "Authorization signature is invalid"}
	}
	var head struct{ Alg, Typ string }
	if !decodeSegment(header, &head) || head.Alg != "HS256" || head.Typ != "JWT" {
		s.violate("token: header is not alg HS256, typ JWT")
		return &refusal{1002, "Authorization header is invalid"}
	}
	var fields map[string]json.RawMessage
	if !decodeSegment(claims, &fields) {
		s.violate("token: claims are no JSON object")
		return &refusal{1002, "Authorization claims are invalid"}
	}
	return s.checkClaims(fields)
}

func (s *Server) checkClaims(fields map[string]json.RawMessage) *refusal {
	var issuer string
	var expiry, notBefore int64
	for name, into := range map[string]any{"iss": &issuer, "exp": &expiry, "nbf": &notBefore} {
		if json.Unmarshal(fields[name], into) != nil {
			s.violate("token: claim %s is missing or of the wrong type", name)
			return &refusal{1002, "Authorization claim " + name + " is invalid"}
		}
		delete(fields, name)
	}
	if len(fields) > 0 {
		s.violate("token: more claims than iss, exp and nbf") // Kling let such pass, developers say
	}
	now := s.options.Now()
	switch {
	case issuer != s.options.AccessKey:
		return &refusal{1002, "access key not found"}
	case time.Unix(notBefore, 0).After(now):
		return &refusal{code: 1003}
	case !time.Unix(expiry, 0).After(now):
		return &refusal{code: 1004}
	case time.Unix(expiry, 0).After(now.Add(maxTokenLife + tokenSkew)):
		s.violate("token: valid for more than %s", maxTokenLife)
		return &refusal{1002, "Authorization claim exp is invalid"}
	default:
		return nil
	}
}

func decodeSegment(segment string, into any) bool {
	text, err := base64.RawURLEncoding.DecodeString(segment)
	return err == nil && json.Unmarshal(text, into) == nil
}
