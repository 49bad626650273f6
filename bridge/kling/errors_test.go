package kling_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

func TestCodes(t *testing.T) {
	t.Parallel()
	const (
		retry, wait, pause = kling.ActionRetry, kling.ActionWait, kling.ActionPause
		reject, lookup     = kling.ActionReject, kling.ActionLookup
	)
	tests := []struct {
		status, code int
		action       kling.Action // of a create
		class        kling.Class
		accountWide  bool
	}{
		{401, 1000, pause, kling.ClassAuth, true},
		{401, 1001, pause, kling.ClassAuth, true},
		{401, 1002, pause, kling.ClassAuth, true},
		{401, 1003, pause, kling.ClassAuth, true},
		{401, 1004, pause, kling.ClassAuth, true},
		{429, 1100, pause, kling.ClassAccount, true},
		{429, 1101, pause, kling.ClassAccount, true},
		{429, 1102, pause, kling.ClassAccount, false},
		{403, 1103, reject, kling.ClassPermission, false},
		{400, 1200, reject, kling.ClassInvalid, false},
		{400, 1201, reject, kling.ClassInvalid, false},
		{404, 1202, reject, kling.ClassInvalid, false},
		{404, 1203, reject, kling.ClassInvalid, false},
		{400, 1300, reject, kling.ClassPolicy, false},
		{400, 1301, reject, kling.ClassPolicy, false},
		{429, 1302, retry, kling.ClassCapacity, false},
		{429, 1303, wait, kling.ClassCapacity, false},
		{429, 1304, pause, kling.ClassAccount, true},
		{500, 5000, lookup, kling.ClassKling, false},
		{503, 5001, lookup, kling.ClassKling, false},
		{504, 5002, lookup, kling.ClassKling, false},

		{429, 0, retry, kling.ClassCapacity, false},
		{429, 1399, retry, kling.ClassCapacity, false},
		{400, 1299, reject, kling.ClassInvalid, false},
		{401, 0, pause, kling.ClassAuth, true},
		{403, 0, reject, kling.ClassPermission, false},
		{404, 0, reject, kling.ClassInvalid, false},
		{408, 0, lookup, kling.ClassKling, false},
		{413, 0, reject, kling.ClassInvalid, false},
		{500, 0, lookup, kling.ClassKling, false},
		{502, 0, lookup, kling.ClassKling, false},
		{500, 9999, lookup, kling.ClassKling, false},
		{400, 5999, lookup, kling.ClassKling, false},
	}
	for _, test := range tests {
		// One client reports codes in a 200: they mean the same there.
		for _, status := range []int{test.status, http.StatusOK} {
			if status == http.StatusOK && (test.code == 0 || test.code == 1399) {
				continue // means nothing without the status
			}
			t.Run(fmt.Sprintf("%d in %d", test.code, status), func(t *testing.T) {
				t.Parallel()
				body := fmt.Sprintf(`{"code":%d,"message":"the reason","request_id":"r-1"}`, test.code)
				client := newClient(t, respond(status, body))
				_, err := client.Create(t.Context(), kind(t, "text2video"), "", []byte(`{}`))
				e := failure(t, err)
				if e.Action != test.action || e.Class != test.class || e.AccountWide != test.accountWide {
					t.Errorf("got %s, %s, account wide %t: %v", e.Action, e.Class, e.AccountWide, e)
				}
				if e.Code != test.code || e.HTTPStatus != status || e.Message != "the reason" || e.RequestID != "r-1" {
					t.Errorf("got %+v", e)
				}
				if e.Retryable() == (test.action == reject) {
					t.Errorf("%s is retryable %t", e.Action, e.Retryable())
				}
				_, err = client.List(t.Context(), kind(t, "text2video"), 1, 30)
				want := test.action
				if want == lookup {
					want = retry
				}
				if e := failure(t, err); e.Action != want || e.NotFound {
					t.Errorf("list: got %s, want %s", e.Action, want)
				}
			})
		}
	}
}

func TestAnswersWithoutAnEnvelope(t *testing.T) {
	t.Parallel()
	const page = "<html><body>sorry</body></html>"
	tests := []struct {
		status  int
		body    string
		action  kling.Action
		foreign bool
	}{
		{200, page, kling.ActionLookup, true},
		{200, "", kling.ActionLookup, false},
		{200, `{"code":0,"data":{"task_id":"87`, kling.ActionLookup, false},
		{200, `{"code":0}`, kling.ActionLookup, false},
		{200, `{"code":0,"data":[]}`, kling.ActionLookup, false},
		{200, `{"code":0,"data":{"task_status":"submitted"}}`, kling.ActionLookup, false},
		{200, `{"code":0,"data":[{"task_id":"1"},{"task_id":"2"}]}`, kling.ActionLookup, false},
		{200, `{"data":{"task_id":"1"}}`, kling.ActionLookup, true},
		{204, "", kling.ActionLookup, false},
		{302, page, kling.ActionPause, true},
		{400, page, kling.ActionPause, true},
		{401, page, kling.ActionPause, true},
		{403, page, kling.ActionPause, true},
		{404, page, kling.ActionPause, true},
		{404, "", kling.ActionPause, true},
		{408, page, kling.ActionLookup, false},
		{413, page, kling.ActionPause, true},
		{429, page, kling.ActionRetry, false},
		{500, "", kling.ActionLookup, false},
		{502, page, kling.ActionLookup, false},
		{503, page, kling.ActionLookup, false},
		{504, page, kling.ActionLookup, false},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%d %.20s", test.status, test.body), func(t *testing.T) {
			t.Parallel()
			client := newClient(t, respond(test.status, test.body))
			_, err := client.Create(t.Context(), kind(t, "text2video"), "", []byte(`{}`))
			e := failure(t, err)
			if e.Action != test.action || e.HTTPStatus != test.status || e.Foreign != test.foreign || e.AccountWide {
				t.Errorf("got %s, HTTP %d, foreign %t: %v", e.Action, e.HTTPStatus, e.Foreign, e)
			}
			if strings.Contains(e.Error(), "sorry") {
				t.Errorf("the error quotes the page: %v", e)
			}
		})
	}
}

func TestRecordedRefusals(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		status int
		action kling.Action
		text   string
	}{
		"create_no_capacity": {
			429, kling.ActionWait, "kling: create text2video: HTTP 429, code 1303: parallel task over resource pack limit " +
				"(request_id 0c2f6a0e-8a54-4d0f-8d1e-5e0a3e7b9a20)",
		},
		"create_content_refused": {
			400, kling.ActionReject, "kling: create text2video: HTTP 400, code 1301: content security policy triggered " +
				"(request_id 9e41d3c4-77b0-4e0b-8f5b-2a1c6d8e4f30)",
		},
		"create_bad_value": {
			400, kling.ActionReject, "kling: create text2video: HTTP 400, code 1201: mode value 'standard' is invalid " +
				"(request_id e2d7b1a8-3c55-4b7e-a9b4-60f1c2d3e441)",
		},
		"create_no_credit": {
			429, kling.ActionPause, "kling: create text2video: HTTP 429, code 1102: Account balance not enough " +
				"(request_id 3a9f0b6d-5d2e-4c7c-9c1f-7b8e9d0a1c52)",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, respond(test.status, string(golden(t, name))))
			_, err := client.Create(t.Context(), kind(t, "text2video"), "", []byte(`{}`))
			if e := failure(t, err); e.Action != test.action || e.Error() != test.text {
				t.Errorf("got %s: %v", e.Action, e)
			}
		})
	}
}

func TestRiskControlIsPolicy(t *testing.T) {
	t.Parallel()
	client := newClient(t, respond(400, `{"code":1201,"message":"Failure to pass the risk control system"}`))
	_, err := client.Create(t.Context(), kind(t, "text2video"), "", []byte(`{}`))
	if e := failure(t, err); e.Class != kling.ClassPolicy || e.Action != kling.ActionReject {
		t.Errorf("got %s, %s: %v", e.Class, e.Action, e)
	}
}

func TestClassifyFailure(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]kling.Class{
		"Failure to pass the risk control system":                             kling.ClassPolicy,
		"The prompt contains SENSITIVE words":                                 kling.ClassPolicy,
		"Content violates our community policies":                             kling.ClassPolicy,
		"content safety check failed":                                         kling.ClassPolicy,
		"Your input did not pass the safety check":                            kling.ClassPolicy,
		"NSFW content detected":                                               kling.ClassPolicy,
		"The image may infringe a third party's copyright":                    kling.ClassPolicy,
		"未通过风控系统审核":                                                           kling.ClassPolicy,
		"提示词包含敏感内容":                                                           kling.ClassPolicy,
		"图片违规，请更换":                                                            kling.ClassPolicy,
		"内容安全检测未通过":                                                           kling.ClassPolicy,
		"涉嫌侵犯版权":                                                              kling.ClassPolicy,
		"图片尺寸不符合要求":                                                           kling.ClassKling,
		"未检测到人脸":                                                              kling.ClassKling,
		"Image pixel is invalid":                                              kling.ClassKling,
		"No complete upper body detected in the video":                        kling.ClassKling,
		"No face detected":                                                    kling.ClassKling,
		"Something went wrong when we tried to get the contents of the file.": kling.ClassKling,
		"": kling.ClassKling,
	} {
		if got := kling.ClassifyFailure(kling.Task{Message: message}); got != want {
			t.Errorf("%q is %s, want %s", message, got, want)
		}
	}
}

func TestMessagesAreTamed(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ sent, want string }{
		"several lines":   {`one\r\ntwo\u2028three\u0000`, "one  two three"},
		"not UTF-8":       {"bad \xff byte", "bad \uFFFD byte"},
		"long":            {strings.Repeat("é", 1000), strings.Repeat("é", 256)},
		"long and uneven": {"x" + strings.Repeat("é", 1000), "x" + strings.Repeat("é", 255)},
		"quotes the key":  {"invalid token " + testKey + "!", "invalid token [redacted]!"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, respond(400, `{"code":1200,"message":"`+test.sent+`"}`))
			_, err := client.Create(t.Context(), kind(t, "text2video"), "", []byte(`{}`))
			e := failure(t, err)
			if e.Message != test.want || !utf8.ValidString(e.Error()) || strings.ContainsAny(e.Error(), "\r\n") {
				t.Errorf("got %q, want %q", e.Message, test.want)
			}
		})
	}
}
