package kling

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const (
	secretPrefix = "whsec_"
	// WebhookTolerance is how far the time of a callback may be from now, either way (Kling's webhook security page,
	// 2026-08).
	WebhookTolerance = 5 * time.Minute
)

// Webhook signs and verifies callbacks as Standard Webhooks prescribes. Kling signs once a secret was created in its
// console, for seven days also with the one that was replaced.
type Webhook struct {
	keys []*standardwebhooks.Webhook
}

// HeaderWebhookSignature is the header that a signed callback has.
const HeaderWebhookSignature = standardwebhooks.HeaderWebhookSignature

// NewWebhook takes secrets of the form whsec_<base64>, at least one. The first signs, all verify.
func NewWebhook(secrets []string) (*Webhook, error) {
	if len(secrets) == 0 {
		return nil, errors.New("webhook: want at least one secret")
	}
	w := &Webhook{}
	for i, secret := range secrets {
		encoded, ok := strings.CutPrefix(secret, secretPrefix)
		if !ok || encoded == "" { // to the library an empty key is as good as any
			return nil, fmt.Errorf("webhook secret %d of %d: want %s<base64>", i+1, len(secrets), secretPrefix)
		}
		key, err := standardwebhooks.NewWebhook(encoded)
		if err != nil {
			return nil, fmt.Errorf("webhook secret %d of %d: %w", i+1, len(secrets), err)
		}
		w.keys = append(w.keys, key)
	}
	return w, nil
}

// Verify returns nil when one of the signatures in the headers was made with one of the secrets for this very body, and
// not more than five minutes before or after now.
func (w *Webhook) Verify(h http.Header, body []byte, now time.Time) error {
	sent, err := strconv.ParseInt(h.Get(standardwebhooks.HeaderWebhookTimestamp), 10, 64)
	if err != nil {
		return fmt.Errorf("webhook: header %s: %w", standardwebhooks.HeaderWebhookTimestamp, err)
	}
	// The library would ask the clock of the machine.
	if skew := now.Sub(time.Unix(sent, 0)).Abs(); skew > WebhookTolerance {
		return fmt.Errorf("webhook: signed %s from now, want at most %s", skew.Round(time.Second), WebhookTolerance)
	}
	for _, key := range w.keys {
		if err = key.VerifyIgnoringTimestamp(body, h); err == nil {
			return nil
		}
	}
	return fmt.Errorf("webhook: %w", err)
}

// Sign returns the value of the webhook-signature header for a body sent with this id at this time: "v1,<base64>".
func (w *Webhook) Sign(id string, t time.Time, body []byte) string {
	signature, _ := w.keys[0].Sign(id, t, body) // an HMAC can't fail
	return signature
}
