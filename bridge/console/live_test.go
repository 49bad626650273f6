package console_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/bridge/console"
	"github.com/klingbridge/klingbridge/events"
)

type news struct {
	Status struct {
		Version string `json:"version"`
		Ready   bool   `json:"ready"`
	} `json:"status"`
	Activity struct {
		Ready    bool    `json:"ready"`
		Minutes  []any   `json:"minutes"`
		Succeed  int     `json:"succeed"`
		P50      *int64  `json:"p50"`
		Callback int     `json:"callback"`
		Poll     int     `json:"poll"`
		Units    float64 `json:"units"`
		Kinds    []share `json:"kinds"`
		Tenants  []share `json:"tenants"`
		Events   []struct {
			RequestID string `json:"request_id"`
			Status    string `json:"status"`
		} `json:"events"`
	} `json:"activity"`
}

type share struct {
	Name  string  `json:"name"`
	Units float64 `json:"units"`
}

// stream is an open page.
type stream struct {
	t    *testing.T
	resp *http.Response
	news *bufio.Scanner
}

func (s *site) watch() *stream { return s.watchAs("") }

// watchAs opens a page with a cookie.
func (s *site) watchAs(cookie string) *stream {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url+"/api/live", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Cookie", cookie)
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		s.t.Fatalf("live: status %d, %v", resp.StatusCode, resp.Header)
	}
	scanner := bufio.NewScanner(resp.Body)
	scanner.Buffer(nil, 1<<20)
	return &stream{t: s.t, resp: resp, news: scanner}
}

// until returns the first news for which holds is true.
func (s *stream) until(what string, holds func(news) bool) news {
	s.t.Helper()
	limit := time.AfterFunc(patience, func() { _ = s.resp.Body.Close() })
	defer limit.Stop()
	for s.news.Scan() {
		data, ok := strings.CutPrefix(s.news.Text(), "data: ")
		if !ok {
			continue
		}
		var n news
		if err := json.Unmarshal([]byte(data), &n); err != nil {
			s.t.Fatal(err)
		}
		if holds(n) {
			return n
		}
	}
	s.t.Fatalf("the stream ended before %s: %v", what, s.news.Err())
	return news{}
}

// TestLive tells an open page of the last hour, and then of what happens.
func TestLive(t *testing.T) {
	t.Parallel()
	s := open(t, console.Options{})
	for i := range 60 {
		s.store(completion(fmt.Sprintf("order-%d", i), taskID(i), "", map[string]string{"Tenant": fmt.Sprintf("tenant-%02d", i)}))
	}
	polled := completion("polled", taskID(60), "", nil)
	polled.Header.Set(events.HeaderSource, string(events.SourcePoll))
	s.store(polled)

	page := s.watch()
	got := page.until("the hour is loaded", func(n news) bool { return n.Activity.Ready })
	a := got.Activity
	if !got.Status.Ready || got.Status.Version != "test" {
		t.Errorf("status %+v", got.Status)
	}
	if a.Succeed != 61 || a.Callback != 60 || a.Poll != 1 || len(a.Minutes) != 60 || len(a.Events) != 50 {
		t.Errorf("last hour: %d succeeded, %d by callback, %d by poll, %d minutes, %d events",
			a.Succeed, a.Callback, a.Poll, len(a.Minutes), len(a.Events))
	}
	if a.P50 == nil || *a.P50 < 3600 || *a.P50 > 4400 {
		t.Errorf("half within %v ms, want about 4000", a.P50)
	}
	if a.Units != 30.5 || len(a.Kinds) != 1 || a.Kinds[0] != (share{"text2video", 30.5}) {
		t.Errorf("%v units, by kind %v", a.Units, a.Kinds)
	}
	if len(a.Tenants) != 51 || a.Tenants[50] != (share{"other", 5.5}) {
		t.Errorf("%d tenants, want 50 and the others in one: %v", len(a.Tenants), a.Tenants)
	}

	s.store(completion("just-now", taskID(61), "", nil))
	page.until("it tells what happens", func(n news) bool {
		return n.Activity.Succeed == 62 && n.Activity.Events[0].RequestID == "just-now"
	})
	s.noConsumers()
}

// TestStopEndsPages ends the streams of open pages when the bridge stops, and answers no questions then.
func TestStopEndsPages(t *testing.T) {
	t.Parallel()
	s := open(t, console.Options{})
	page := s.watch()
	page.until("it is open", func(news) bool { return true })
	s.stop()
	for page.news.Scan() {
	}
	if err := page.news.Err(); err != nil {
		t.Errorf("the stream broke off: %v", err)
	}
	for _, path := range []string{"/api/live", "/api/search?q=x"} {
		if resp := send(t, http.MethodGet, s.url+path, nil, ""); resp.status != http.StatusServiceUnavailable {
			t.Errorf("%s: status %d, want 503", path, resp.status)
		}
	}
}

// untilEnd reads a stream to its end.
func (s *stream) untilEnd(what string) {
	s.t.Helper()
	limit := time.AfterFunc(patience, func() { _ = s.resp.Body.Close() })
	defer limit.Stop()
	for s.news.Scan() {
	}
	if err := s.news.Err(); err != nil {
		s.t.Errorf("%s, and the stream did not end: %v", what, err)
	}
}

func (s *site) login() (cookie string) {
	s.t.Helper()
	header := map[string]string{"Content-Type": "application/json"}
	resp := send(s.t, "POST", s.url+"/api/login", header, `{"token":"`+token+`"}`)
	if len(resp.cookies) != 1 {
		s.t.Fatalf("login: status %d: %s", resp.status, resp.body)
	}
	return resp.cookies[0].Name + "=" + resp.cookies[0].Value
}

// TestLogoutEndsPages ends the streams of all pages of who logs out, and of nobody else.
func TestLogoutEndsPages(t *testing.T) {
	t.Parallel()
	s := open(t, console.Options{Token: token})
	mine, yours := s.login(), s.login()
	pages := []*stream{s.watchAs(mine), s.watchAs(mine)}
	other := s.watchAs(yours)
	for _, page := range append(pages, other) {
		page.until("it is open", func(news) bool { return true })
	}
	send(t, "POST", s.url+"/api/logout", map[string]string{"Content-Type": "application/json", "Cookie": mine}, `{}`)
	for _, page := range pages {
		page.untilEnd("they logged out")
	}
	s.store(completion("just-now", taskID(61), "", nil))
	other.until("it goes on", func(n news) bool { return n.Activity.Ready && n.Activity.Succeed == 1 })
}

// TestSessionEndsPages ends the stream of a page when its session does.
func TestSessionEndsPages(t *testing.T) {
	t.Parallel()
	s := open(t, console.Options{Token: token, Session: 3 * time.Second})
	cookie := s.login()
	page := s.watchAs(cookie)
	page.until("it is open", func(news) bool { return true })
	page.untilEnd("the session has ended")
	if resp := send(t, "GET", s.url+"/api/live", map[string]string{"Cookie": cookie}, ""); resp.status != http.StatusUnauthorized {
		t.Errorf("after the end of the session: status %d", resp.status)
	}
}

// TestIdleConsoleForgets drops what was read when nobody has looked for a while, and reads it again for the next one.
func TestIdleConsoleForgets(t *testing.T) {
	t.Parallel()
	s := open(t, console.Options{Idle: time.Nanosecond})
	s.store(completion("order", taskID(1), "", nil))
	for range 2 {
		page := s.watch()
		page.until("the hour is loaded", func(n news) bool { return n.Activity.Ready && n.Activity.Succeed == 1 })
		_ = page.resp.Body.Close()
		if got := s.search(taskID(1)); got.Task == nil {
			t.Error("the task is not found")
		}
	}
}
