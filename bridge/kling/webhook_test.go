package kling_test

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

// The example of Kling's webhook security page (2026-08).
const (
	vectorSecret = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="
	vectorID     = "9876543210"
	vectorTime   = 1781080794
	vectorBody   = `{"id":"1234567890","status":"succeeded","message":"",` +
		`"create_time":1781080778802,"update_time":1781080794151}`
	vectorSignature = "v1,UsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4="
)

func webhookHeader(id string, seconds int64, signature string) http.Header {
	h := http.Header{}
	h.Set("webhook-id", id)
	h.Set("webhook-timestamp", strconv.FormatInt(seconds, 10))
	h.Set("webhook-signature", signature)
	return h
}

func newWebhook(t testing.TB, secrets ...string) *kling.Webhook {
	t.Helper()
	w, err := kling.NewWebhook(secrets)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestWebhookVector(t *testing.T) {
	t.Parallel()
	w := newWebhook(t, vectorSecret)
	now := time.Unix(vectorTime, 0)
	if got := w.Sign(vectorID, now, []byte(vectorBody)); got != vectorSignature {
		t.Errorf("Sign = %s, want %s", got, vectorSignature)
	}
	if err := w.Verify(webhookHeader(vectorID, vectorTime, vectorSignature), []byte(vectorBody), now); err != nil {
		t.Errorf("Verify: %v", err)
	}
}

func TestWebhookVerify(t *testing.T) {
	t.Parallel()
	const other = "whsec_b3RoZXJzZWNyZXRvdGhlcnNlY3JldG90aGVyc2VjcmU="
	now := time.Unix(vectorTime, 0)
	good := webhookHeader(vectorID, vectorTime, vectorSignature)
	signed := func(signature string) http.Header { return webhookHeader(vectorID, vectorTime, signature) }
	tests := map[string]struct {
		secrets []string
		header  http.Header
		body    string
		now     time.Time
		ok      bool
	}{
		"new secret first":   {[]string{other, vectorSecret}, good, vectorBody, now, true},
		"old secret last":    {[]string{vectorSecret, other}, good, vectorBody, now, true},
		"five minutes late":  {[]string{vectorSecret}, good, vectorBody, now.Add(5 * time.Minute), true},
		"five minutes early": {[]string{vectorSecret}, good, vectorBody, now.Add(-5 * time.Minute), true},
		"too late":           {[]string{vectorSecret}, good, vectorBody, now.Add(5*time.Minute + time.Second), false},
		"too early":          {[]string{vectorSecret}, good, vectorBody, now.Add(-5*time.Minute - time.Second), false},
		"another secret":     {[]string{other}, good, vectorBody, now, false},
		"another body":       {[]string{vectorSecret}, good, vectorBody + " ", now, false},
		"another id": {
			[]string{vectorSecret}, webhookHeader("1", vectorTime, vectorSignature), vectorBody, now, false,
		},
		"another time": {
			[]string{vectorSecret}, webhookHeader(vectorID, vectorTime+1, vectorSignature), vectorBody, now, false,
		},
		"one of two signatures": {[]string{vectorSecret}, signed("v1,AAAA " + vectorSignature), vectorBody, now, true},
		"another version": {
			[]string{vectorSecret}, signed(strings.Replace(vectorSignature, "v1", "v2", 1)), vectorBody, now, false,
		},
		"a signature cut short": {[]string{vectorSecret}, signed(vectorSignature[:20]), vectorBody, now, false},
		"no signature":          {[]string{vectorSecret}, signed(""), vectorBody, now, false},
		"no headers":            {[]string{vectorSecret}, http.Header{}, vectorBody, now, false},
		"a time that is none": {
			[]string{vectorSecret},
			http.Header{"Webhook-Id": {vectorID}, "Webhook-Timestamp": {"now"}, "Webhook-Signature": {vectorSignature}},
			vectorBody, now, false,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := newWebhook(t, test.secrets...).Verify(test.header, []byte(test.body), test.now)
			if (err == nil) != test.ok {
				t.Errorf("Verify = %v, want ok %t", err, test.ok)
			}
		})
	}
}

func TestNewWebhookRefuses(t *testing.T) {
	t.Parallel()
	for name, secrets := range map[string][]string{
		"none":         nil,
		"empty":        {""},
		"empty key":    {"whsec_"},
		"no prefix":    {"dGVzdHNlY3JldA=="},
		"not base64":   {vectorSecret, "whsec_plaintext-secret"},
		"second empty": {vectorSecret, ""},
	} {
		w, err := kling.NewWebhook(secrets)
		if err == nil {
			t.Errorf("%s: got %v, want an error", name, w)
			continue
		}
		if strings.Contains(err.Error(), "dGVz") || strings.Contains(err.Error(), "plaintext") {
			t.Errorf("%s: the error quotes a secret: %v", name, err)
		}
	}
}

func FuzzWebhookVerify(f *testing.F) {
	w := newWebhook(f, vectorSecret)
	now := time.Unix(vectorTime, 0)
	f.Add(vectorID, strconv.Itoa(vectorTime), vectorSignature, []byte(vectorBody))
	f.Add("", "", "", []byte(nil))
	f.Add("a.b", "-9223372036854775808", "v1, v1,,", []byte("x"))
	f.Fuzz(func(t *testing.T, id, timestamp, signature string, body []byte) {
		h := http.Header{}
		h.Set("webhook-id", id)
		h.Set("webhook-timestamp", timestamp)
		h.Set("webhook-signature", signature)
		if err := w.Verify(h, body, now); err == nil {
			seconds, _ := strconv.ParseInt(timestamp, 10, 64)
			if !strings.Contains(signature, w.Sign(id, time.Unix(seconds, 0), body)) {
				t.Fatalf("accepted without the right signature: %q %q %q %q", id, timestamp, signature, body)
			}
		}
		if id == "" {
			return
		}
		signed := webhookHeader(id, vectorTime, w.Sign(id, now, body))
		if err := w.Verify(signed, body, now); err != nil {
			t.Fatalf("refused its own signature: %v", err)
		}
		sum, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(signed.Get("webhook-signature"), "v1,"))
		sum[0] ^= 1
		signed.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(sum))
		if w.Verify(signed, body, now) == nil {
			t.Fatal("accepted a signature with a flipped bit")
		}
	})
}
