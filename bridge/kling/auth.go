package kling

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Kling's authentication page, 2026-10: exp is 1800 s ahead, a little back-dated nbf, all in whole seconds.
const (
	tokenLifetime = 1800 * time.Second
	// tokenRenewal leaves a token five minutes to be on its way, and in the queue of whoever checks it.
	tokenRenewal = 25 * time.Minute
	// TokenBackdate is more than the 5 s of Kling's samples: a clock that is ahead of Kling's by more makes a token "not
	// yet valid" (code 1003), and dating it back further costs nothing.
	TokenBackdate = 30 * time.Second
)

const redacted = "[redacted]"

// Credentials prove who calls Kling: an API key, or the older pair of access key and secret key. Where both are given
// the API key is used, which is good for both API generations.
type Credentials struct {
	APIKey    string // sent as it is
	AccessKey string // names the pair
	SecretKey string // signs a token that is good for half an hour
}

// String keeps credentials out of whatever prints them.
func (Credentials) String() string { return redacted }

// GoString keeps credentials out of %#v.
func (Credentials) GoString() string { return redacted }

// LogValue keeps credentials out of logs.
func (Credentials) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON keeps credentials out of JSON.
func (Credentials) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// CheckAPIKey returns why a key can't be sent to Kling as it is. The error does not quote it.
func CheckAPIKey(key string) error {
	if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("want printable ASCII without spaces")
	}
	return nil
}

func (c Credentials) validate() error {
	switch {
	case c.APIKey != "":
		if err := CheckAPIKey(c.APIKey); err != nil {
			return fmt.Errorf("API key: %w", err)
		}
		return nil
	case c.AccessKey == "" && c.SecretKey == "":
		return errors.New("credentials: want an API key, or an access key and a secret key")
	case c.AccessKey == "" || c.SecretKey == "":
		return errors.New("credentials: want both access key and secret key")
	default:
		return nil
	}
}

// authorizer makes the bearer tokens. Safe for concurrent use.
type authorizer struct {
	credentials Credentials
	now         func() time.Time

	mu       sync.Mutex // guards what follows
	token    string     // the last one signed; empty: none, or discarded
	signedAt time.Time
}

// bearer returns the API key, or a token that stays valid for at least five minutes.
func (a *authorizer) bearer() (string, error) {
	if a.credentials.APIKey != "" {
		return a.credentials.APIKey, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	// A clock that was set back makes the age negative and the token's nbf lie ahead.
	if age := now.Sub(a.signedAt); a.token != "" && age >= 0 && age < tokenRenewal {
		return a.token, nil
	}
	token, err := sign(a.credentials, now)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	a.token, a.signedAt = token, now
	return token, nil
}

// discard forgets a token that Kling refused and reports whether another one can be made. Of many calls that were
// refused with the same token only the first discards it.
func (a *authorizer) discard(token string) bool {
	if a.credentials.APIKey != "" {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token == token {
		a.token = ""
	}
	return true
}

// redact removes what was sent as proof from a text that came back: gateways quote headers.
func (a *authorizer) redact(text, token string) string {
	for _, secret := range []string{token, a.credentials.APIKey, a.credentials.SecretKey} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, redacted)
		}
	}
	return text
}

// sign makes the token of Kling's authentication page, with these three claims and no others.
func sign(c Credentials, now time.Time) (string, error) {
	claims := jwt.RegisteredClaims{
		Issuer:    c.AccessKey,
		ExpiresAt: jwt.NewNumericDate(now.Add(tokenLifetime)),
		NotBefore: jwt.NewNumericDate(now.Add(-TokenBackdate)),
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(c.SecretKey))
}
