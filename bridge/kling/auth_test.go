package kling_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

const (
	testAccessKey = "access-key-of-the-pair"
	testSecretKey = "secret-key-of-the-pair-0123456789"
)

// clock is a time that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Unix(1790600000, 865e6)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func pair(o *kling.Options) {
	o.Credentials = kling.Credentials{AccessKey: testAccessKey, SecretKey: testSecretKey}
}

func bearer(r *http.Request) string {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return token
}

func TestTokenClaims(t *testing.T) {
	t.Parallel()
	clock := newClock()
	var token string
	client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		token = bearer(r)
		_, _ = w.Write(golden(t, "create_accepted"))
	}, pair, func(o *kling.Options) { o.Now = clock.Now })
	if _, err := client.Create(t.Context(), kind(t, "text2video"), "", []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	parsed, err := jwt.Parse(token, func(*jwt.Token) (any, error) { return []byte(testSecretKey), nil },
		jwt.WithTimeFunc(clock.Now), jwt.WithJSONNumber(), jwt.WithValidMethods([]string{"HS256"}))
	if err != nil {
		t.Fatal(err)
	}
	want := jwt.MapClaims{
		"iss": testAccessKey, "exp": json.Number("1790601800"), "nbf": json.Number("1790599970"),
	}
	if diff := cmp.Diff(want, parsed.Claims); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"alg": "HS256", "typ": "JWT"}, parsed.Header); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
}

func TestTokenIsCached(t *testing.T) {
	t.Parallel()
	clock := newClock()
	var token string
	client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		token = bearer(r)
		_, _ = w.Write(golden(t, "create_accepted"))
	}, pair, func(o *kling.Options) { o.Now = clock.Now })
	tokenAfter := func(d time.Duration) string {
		t.Helper()
		clock.advance(d)
		if _, err := client.Create(t.Context(), kind(t, "text2video"), "", []byte(`{}`)); err != nil {
			t.Fatal(err)
		}
		return token
	}
	first := tokenAfter(0)
	if again := tokenAfter(25*time.Minute - time.Second); again != first {
		t.Error("signed anew before 25 minutes had passed")
	}
	second := tokenAfter(time.Second)
	if second == first {
		t.Error("not signed anew after 25 minutes")
	}
	if tokenAfter(-time.Hour) == second {
		t.Error("not signed anew after the clock was set back, when nbf lies ahead")
	}
}

func TestTokenIsSharedByConcurrentCalls(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	tokens := map[string]int{}
	client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		tokens[bearer(r)]++
		_, _ = w.Write(golden(t, "create_accepted"))
	}, pair, func(o *kling.Options) { o.Now = newClock().Now })
	var calls sync.WaitGroup
	for range 16 {
		calls.Go(func() {
			if _, err := client.Create(t.Context(), kind(t, "text2video"), "", []byte(`{}`)); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	if len(tokens) != 1 {
		t.Errorf("16 calls used %d tokens, want 1", len(tokens))
	}
}

func TestRefusedTokenIsRenewedOnce(t *testing.T) {
	t.Parallel()
	for code := 1000; code <= 1004; code++ {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			t.Parallel()
			refusal := fmt.Sprintf(`{"code":%d,"message":"Authorization signature is invalid"}`, code)
			clock := newClock()
			var tokens []string
			accept := true
			client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
				tokens = append(tokens, bearer(r))
				if body, _ := io.ReadAll(r.Body); string(body) != `{"prompt":"x"}` {
					t.Errorf("got body %s", body)
				}
				clock.advance(time.Second)
				if accept && len(tokens) == 2 {
					_, _ = w.Write(golden(t, "create_accepted"))
					return
				}
				w.WriteHeader(http.StatusUnauthorized)
				_, _ = io.WriteString(w, refusal)
			}, pair, func(o *kling.Options) { o.Now = clock.Now })
			create := func() error {
				_, err := client.Create(t.Context(), kind(t, "text2video"), "", []byte(`{"prompt":"x"}`))
				return err
			}
			if err := create(); err != nil {
				t.Fatalf("a fresh token should have helped: %v", err)
			}
			if len(tokens) != 2 || tokens[0] == tokens[1] {
				t.Fatalf("got %d calls with the tokens %v", len(tokens), tokens)
			}
			accept, tokens = false, nil
			e := failure(t, create())
			if e.Action != kling.ActionPause || e.Class != kling.ClassAuth || !e.AccountWide || len(tokens) != 2 {
				t.Errorf("after %d calls got %s, %s: %v", len(tokens), e.Action, e.Class, e)
			}
		})
	}
}

func TestRefusedAPIKeyIsNotSentAgain(t *testing.T) {
	t.Parallel()
	calls := 0
	client := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
		calls++
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"code":1002,"message":"api key not found"}`)
	})
	_, err := client.Create(t.Context(), kind(t, "text2video"), "", []byte(`{}`))
	if e := failure(t, err); e.Action != kling.ActionPause || calls != 1 {
		t.Errorf("after %d calls got %s: %v", calls, e.Action, e)
	}
}

func TestAPIKeyWins(t *testing.T) {
	t.Parallel()
	client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		if bearer(r) != testKey {
			t.Error("the API key was not used")
		}
		_, _ = w.Write(golden(t, "create_accepted"))
	}, pair, func(o *kling.Options) { o.Credentials.APIKey = testKey })
	if _, err := client.Create(t.Context(), kind(t, "text2video"), "", []byte(`{}`)); err != nil {
		t.Error(err)
	}
}

func TestCredentialsNeverPrint(t *testing.T) {
	t.Parallel()
	credentials := kling.Credentials{APIKey: testKey, AccessKey: testAccessKey, SecretKey: testSecretKey}
	client, err := kling.NewClient(kling.Options{Credentials: credentials})
	if err != nil {
		t.Fatal(err)
	}
	var printed bytes.Buffer
	for _, v := range []any{credentials, &credentials, kling.Options{Credentials: credentials}, client} {
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			fmt.Fprintf(&printed, format+"\n", v)
		}
		slog.New(slog.NewTextHandler(&printed, nil)).Info("text", slog.Any("value", v))
		slog.New(slog.NewJSONHandler(&printed, nil)).Info("json", slog.Any("value", v))
	}
	encoded, err := json.Marshal(map[string]any{"credentials": credentials, "client": client})
	if err != nil {
		t.Fatal(err)
	}
	printed.Write(encoded)
	for _, secret := range []string{testKey, testAccessKey, testSecretKey} {
		if text := printed.String(); strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%x", secret)) {
			t.Errorf("%s was printed:\n%s", secret, text)
		}
	}
	if !strings.Contains(printed.String(), "[redacted]") {
		t.Error("nothing says that something was left out")
	}
}
