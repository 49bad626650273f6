package klingtest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
)

const (
	accessKey = "access-1"
	secretKey = "secret-1"
)

func TestAuthorizationHeader(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		values []string
		code   int
	}{
		"none":           {nil, 1001},
		"empty":          {[]string{""}, 1001},
		"key":            {[]string{"Bearer " + key}, 0},
		"other key":      {[]string{"Bearer other"}, 1002},
		"key alone":      {[]string{key}, 1002},
		"lower case":     {[]string{"bearer " + key}, 1002},
		"two spaces":     {[]string{"Bearer  " + key}, 1002},
		"trailing space": {[]string{"Bearer " + key + " "}, 1002},
		"no token":       {[]string{"Bearer "}, 1002},
		"basic":          {[]string{"Basic " + key}, 1002},
		"twice":          {[]string{"Bearer " + key, "Bearer " + key}, 1002},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim := newAPI(t, klingtest.Options{})
			r := sim.request(http.MethodPost, textToVideo, `{"prompt":"p"}`)
			r.Header["Authorization"] = tt.values
			got := sim.do(r)
			wantStatus := http.StatusUnauthorized
			if tt.code == 0 {
				wantStatus = http.StatusOK
			}
			if got.Code != tt.code || got.HTTPStatus != wantStatus {
				t.Errorf("%d %s; want code %d", got.HTTPStatus, got.Body, tt.code)
			}
		})
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_790_000_000, 0)
	good := func() jwt.MapClaims {
		return jwt.MapClaims{"iss": accessKey, "exp": now.Unix() + 1800, "nbf": now.Unix() - 5}
	}
	with := func(name string, value any) jwt.MapClaims {
		claims := good()
		claims[name] = value
		return claims
	}
	without := func(name string) jwt.MapClaims {
		claims := good()
		delete(claims, name)
		return claims
	}
	for name, tt := range map[string]struct {
		method   jwt.SigningMethod
		key      string
		claims   jwt.MapClaims
		code     int
		violates bool
	}{
		"good":            {jwt.SigningMethodHS256, secretKey, good(), 0, false},
		"other secret":    {jwt.SigningMethodHS256, "secret-2", good(), 1002, false},
		"HS512":           {jwt.SigningMethodHS512, secretKey, good(), 1002, false},
		"other issuer":    {jwt.SigningMethodHS256, secretKey, with("iss", "access-2"), 1002, false},
		"issuer a number": {jwt.SigningMethodHS256, secretKey, with("iss", 1), 1002, true},
		"no issuer":       {jwt.SigningMethodHS256, secretKey, without("iss"), 1002, true},
		"no exp":          {jwt.SigningMethodHS256, secretKey, without("exp"), 1002, true},
		"no nbf":          {jwt.SigningMethodHS256, secretKey, without("nbf"), 1002, true},
		"exp a string":    {jwt.SigningMethodHS256, secretKey, with("exp", "1790001000"), 1002, true},
		"exp fractional":  {jwt.SigningMethodHS256, secretKey, with("exp", float64(now.Unix())+9.5), 1002, true},
		"expired":         {jwt.SigningMethodHS256, secretKey, with("exp", now.Unix()), 1004, false},
		"too long":        {jwt.SigningMethodHS256, secretKey, with("exp", now.Unix()+3600), 1002, true},
		"not yet valid":   {jwt.SigningMethodHS256, secretKey, with("nbf", now.Unix()+1), 1003, false},
		"more claims":     {jwt.SigningMethodHS256, secretKey, with("iat", now.Unix()), 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim := newAPI(t, klingtest.Options{
				AccessKey: accessKey, SecretKey: secretKey, Now: func() time.Time { return now },
			})
			token, err := jwt.NewWithClaims(tt.method, tt.claims).SignedString([]byte(tt.key))
			if err != nil {
				t.Fatal(err)
			}
			sim.token = token
			got := sim.post(textToVideo, `{"prompt":"p"}`)
			if got.Code != tt.code || tt.code != 0 && got.HTTPStatus != http.StatusUnauthorized {
				t.Errorf("%d %s; want code %d", got.HTTPStatus, got.Body, tt.code)
			}
			if v := sim.Violations(); (len(v) > 0) != tt.violates {
				t.Errorf("violations %q, want any: %t", v, tt.violates)
			}
		})
	}
}

func TestTokensAreForTheOlderAPI(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{AccessKey: accessKey, SecretKey: secretKey})
	claims := jwt.MapClaims{"iss": accessKey, "exp": time.Now().Unix() + 1800, "nbf": time.Now().Unix() - 5}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secretKey))
	if err != nil {
		t.Fatal(err)
	}
	sim.token = token
	sim.refused(v2Video, `{"prompt":"p"}`, http.StatusUnauthorized, 1002)
	sim.refused("/tasks", `{}`, http.StatusUnauthorized, 1002)
	if got := sim.get("/tasks?task_ids=1"); got.Code != 1002 {
		t.Errorf("GET /tasks: %s", got.Body)
	}
	for _, path := range []string{textToVideo, "/account/costs?start_time=1&end_time=2"} {
		if got := sim.get(path); got.Code != 0 {
			t.Errorf("GET %s: %s", path, got.Body)
		}
	}

	parts := strings.Split(token, ".")
	sim.token = parts[0] + "." + parts[1] + ".AAAA"
	sim.refused(textToVideo, `{"prompt":"p"}`, http.StatusUnauthorized, 1002)
}
