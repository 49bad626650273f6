package kling_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

// What stands before Kling answers in its own words. Recorded 2026-09 and before: HTML pages with 403, 404, 400 and 200,
// relays' JSON with words or HTTP statuses for codes, an edge's quota.
func TestForeignAnswers(t *testing.T) {
	t.Parallel()
	const page = "\r\n<!DOCTYPE html><html><head>\n<title>\n Attention  Required! &#124;\tCloudflare</title></head><body>sorry</body></html>"
	tests := []struct {
		status int
		body   string
		words  string
	}{
		{403, page, "Attention Required! | Cloudflare"},
		{200, page, "Attention Required! | Cloudflare"},
		{400, "<html><body>sorry</body></html>", "Bad Request"},
		{403, `{"error":"insufficient_user_quota"}`, "insufficient_user_quota"},
		{403, `{"code":"insufficient_user_quota","message":"用户额度不足","data":null}`, "用户额度不足"},
		{400, `{"error":{"type":"invalid_request_error","message":"no such route"}}`, "no such route"},
		{404, `{"error":{"type":"invalid_request_error"}}`, "invalid_request_error"},
		{200, `{"code":"success","message":"","data":{"task_id":"871"}}`, "success"},
		{200, `{"code":200,"msg":"ok","data":{"task_id":"871"}}`, "ok"},
		{400, `{"code":400,"message":"wrong model"}`, "wrong model"},
		{200, `{"id":"video_1","task_id":"871","object":"video","status":"queued"}`, "OK"},
		{200, `[{"task_id":"1"}]`, "OK"},
		{404, "no healthy\nupstream", "no healthy upstream"},
		{307, "", "redirect to login.example.com"},
		{404, "", "Not Found"},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%d %.30s", test.status, test.body), func(t *testing.T) {
			t.Parallel()
			client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
				if test.status == http.StatusTemporaryRedirect {
					w.Header().Set("Location", "https://login.example.com/sso?token=secret")
				}
				respond(test.status, test.body)(w, r)
			})
			want := kling.ActionPause
			if test.status == http.StatusOK {
				want = kling.ActionLookup
			}
			_, err := client.Create(t.Context(), kind(t, "text2video"), "", []byte(`{}`))
			if e := failure(t, err); e.Action != want || !e.Foreign || e.Message != test.words || e.Code != 0 || e.AccountWide {
				t.Errorf("create: got %s, foreign %t, %q: %v", e.Action, e.Foreign, e.Message, e)
			}
			queries := map[string]func() error{
				"query external": func() error {
					_, err := client.QueryExternal(t.Context(), kind(t, "text2video"), "job-1")
					return err
				},
				"query": func() error { _, err := client.Query(t.Context(), kind(t, "text-to-video"), "871"); return err },
				"list":  func() error { _, err := client.List(t.Context(), kind(t, "effects"), 1, 30); return err },
				"check": func() error { return client.CheckCredentials(t.Context()) },
			}
			for name, query := range queries {
				if e := failure(t, query()); e.Action != kling.ActionRetry || !e.Foreign || e.NotFound || e.Message != test.words {
					t.Errorf("%s: got %s, foreign %t, not found %t: %v", name, e.Action, e.Foreign, e.NotFound, e)
				}
			}
		})
	}
}

// An odd field around the task costs that field.
func TestOddEnvelopes(t *testing.T) {
	t.Parallel()
	for _, around := range []string{
		`"code":"0","message":{"text":"SUCCEED"},"request_id":[]`, `"code":0,"message":false`, `"code":0,"request_id":{},"message":[]`,
	} {
		client := newClient(t, respond(200, `{`+around+`,"data":{"task_id":"871","task_status":"submitted"}}`))
		task, err := client.Create(t.Context(), kind(t, "text2video"), "", []byte(`{}`))
		if err != nil || task.ID != "871" {
			t.Errorf("%s: %+v, %v", around, task, err)
		}
	}
}

// Kling's own words for an external id that it has seen (recorded 2026-09-22), and what they are not.
func TestReusedExternalID(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]bool{
		"External_task_id k7f3abcd-order-42 already exists":         true,
		"external_task_id value 'k7f3abcd-order-42' already exists": true,
		"This API is no longer available":                           false,
		"external_task_id cannot be longer than 64":                 false,
		"element already exists":                                    false,
	} {
		client := newClient(t, respond(400, fmt.Sprintf(`{"code":1201,"message":%q}`, message)))
		_, err := client.Create(t.Context(), kind(t, "text2video"), "", []byte(`{}`))
		if e := failure(t, err); e.Exists != want || e.Foreign || e.Action != kling.ActionReject {
			t.Errorf("%q: got %s, exists %t, foreign %t", message, e.Action, e.Exists, e.Foreign)
		}
	}
}

// The costs have a code of their own within the answer's data.
func TestInnerCodeOfCosts(t *testing.T) {
	t.Parallel()
	for inner, want := range map[string]int{
		`{"code":0,"msg":"success"}`: 0,
		`{"msg":"success"}`:          0,
		`[]`:                         0,
		`{"code":1101,"msg":"account\nin arrears"}`:   1101,
		`{"code":"1002","msg":"api key not found"}`:   1002,
		`{"code":false,"resource_pack_subscribe":[]}`: 0,
	} {
		client := newClient(t, respond(200, `{"code":0,"message":"SUCCEED","data":`+inner+`}`))
		err := client.CheckCredentials(t.Context())
		if want == 0 {
			if err != nil {
				t.Errorf("%s: %v", inner, err)
			}
			continue
		}
		if e := failure(t, err); e.Code != want || e.Message == "" || strings.Contains(e.Message, "\n") {
			t.Errorf("%s: %v", inner, e)
		}
	}
}

// TestTimeOfALargeBody lets Kling hang: a body of 1 MiB is given four seconds more than an empty one.
func TestTimeOfALargeBody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, err := kling.NewClient(kling.Options{
			BaseURL: "http://127.0.0.1", Credentials: kling.Credentials{APIKey: testKey}, Timeout: 10 * time.Second,
			Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}),
		})
		if err != nil {
			t.Fatal(err)
		}
		for size, want := range map[int]time.Duration{0: 10 * time.Second, 1 << 20: 14 * time.Second} {
			began := time.Now()
			_, err := client.Create(t.Context(), kind(t, "text2video"), "", make([]byte, size))
			if e := failure(t, err); e.Action != kling.ActionLookup || time.Since(began) != want {
				t.Errorf("%d bytes: %s after %s, want %s", size, e.Action, time.Since(began), want)
			}
		}
	})
}
