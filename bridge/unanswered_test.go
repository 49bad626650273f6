package bridge_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/bridge"
)

// deniedByAll is what Kling says of a task that it does not know (recorded 2026-09).
func deniedByAll(r *http.Request, _ string) *page {
	switch {
	case r.Method != http.MethodGet:
		return nil
	case strings.HasPrefix(r.URL.Path, "/v1/"):
		return &page{400, `{"code":1201,"message":"Task not found by id/external id: x"}`}
	default:
		return &page{200, `{"code":0,"message":"SUCCEED","data":[]}`}
	}
}

// TestLostForGood loses every answer to a create whose task is made, and has every query deny it: there is an end to
// paying. The kind pauses with a reason, others of its lane go on.
func TestLostForGood(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"text2video", "text-to-video"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w, e := behindEdge(t, setup{
				sim:    silent(),
				bridge: bridge.Options{LookupWindow: 300 * time.Millisecond, ProbeInterval: 100 * time.Millisecond},
			})
			admin := w.replicas[0].adminURL
			e.set(func(r *http.Request, body string) *page {
				if r.Method == http.MethodPost && strings.Contains(body, "lighthouse") {
					return &page{504, ""}
				}
				return deniedByAll(r, body)
			})
			w.request(testRequest{Kind: kind, ID: "lost", Body: body(coreBodies[kind])})
			w.eventually("the kind is paused", func() bool { return notReady(t, admin, "kind:"+kind) })
			if _, text := get(t, admin+"/readyz"); !strings.Contains(text, "3 creates of request lost were not answered") {
				t.Errorf("readiness says %s", text)
			}
			other := w.request(testRequest{Kind: "image2video", ID: "other", Body: body(coreBodies["image2video"])})
			w.eventually("another kind goes on", func() bool { return w.count("KLING_EVENTS", "kling.progress.*.submitted."+other) == 1 })
			if n := len(e.creates()); n != 3 {
				t.Errorf("it was sent %d times, want 3", n)
			}
			if n := w.count("KLING_EVENTS", "kling.completion.>"); n != 0 {
				t.Errorf("%d completions", n)
			}
		})
	}
}

// TestClaimsOfTheDead has a request whose claims outlived their replicas, which is no word on what Kling answers: it is sent.
func TestClaimsOfTheDead(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent(), bridge: bridge.Options{LookupWindow: 100 * time.Millisecond}})
	w.putRecord("claimed", map[string]any{
		"state": "creating", "owner": 1, "claim": "somebody's", "claimed_at": time.Now().Add(-time.Minute), "attempt": 3,
	}, time.Now().Add(time.Hour))
	w.submit("claimed", "a") // sequence 1 of the stream
	w.eventually("the task is announced", func() bool { return w.count("KLING_EVENTS", "kling.progress.*.submitted.claimed") == 1 })
}

// TestMaintenanceIsNoLostAnswer has creates meet Kling's maintenance again and again, while its query works: the request
// outlasts it.
func TestMaintenanceIsNoLostAnswer(t *testing.T) {
	t.Parallel()
	w, e := behindEdge(t, setup{sim: silent(), bridge: bridge.Options{LookupWindow: 100 * time.Millisecond}})
	e.set(func(r *http.Request, _ string) *page {
		if r.Method == http.MethodPost {
			return &page{503, `{"code":5001,"message":"Server under maintenance"}`}
		}
		return nil
	})
	w.submit("patient", "a")
	w.eventually("it was sent five times", func() bool { return len(e.creates()) >= 5 })
	e.set(nil)
	w.eventually("the task is announced", func() bool { return w.count("KLING_EVENTS", "kling.progress.*.submitted.patient") == 1 })
}

// TestDenialThatIsNoProof has the query deny a task that Kling is known to have made: what it denies is not sent again.
func TestDenialThatIsNoProof(t *testing.T) {
	t.Parallel()
	w, e := behindEdge(t, setup{
		sim: silent(), bridge: bridge.Options{LookupWindow: 300 * time.Millisecond, ProbeInterval: 100 * time.Millisecond},
	})
	w.task("text2video", "made")
	w.eventually("it is announced", func() bool { return w.count("KLING_EVENTS", "kling.progress.*.submitted.*") == 1 })
	e.set(func(r *http.Request, body string) *page {
		if r.Method == http.MethodPost {
			return &page{504, ""}
		}
		return deniedByAll(r, body)
	})
	w.submit("lost", "a")
	w.eventually("the kind is paused", func() bool { return notReady(t, w.replicas[0].adminURL, "kind:text2video") })
	if _, text := get(t, w.replicas[0].adminURL+"/readyz"); !strings.Contains(text, "which it has made") {
		t.Errorf("readiness says %s", text)
	}
	if n := len(e.creates()); n != 1 {
		t.Errorf("it was sent %d times, want once", n)
	}
	e.set(deniedByAll)
	w.submit("next", "a")
	w.eventually("another request ends the pause", func() bool { status, _ := get(t, w.replicas[0].adminURL+"/readyz"); return status == http.StatusOK })
	if n := len(e.creates()); n != 1 {
		t.Errorf("what was denied was sent again: %d", n)
	}
}
