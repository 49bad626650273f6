package klingtest_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
)

const withCallback = `{"prompt":"p","callback_url":"` + callbackURL + `"}`

func noLimit() map[kling.Pool]int { return map[kling.Pool]int{kling.PoolVideo: 1 << 20} }

// oneTask runs a task from creation to long after its end, in a bubble of fake time.
func oneTask(t *testing.T, o klingtest.Options, check func(t *testing.T, sim api, got []received)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		calls := &receiver{}
		o.CallbackHTTP = calls.client()
		sim := newAPI(t, o)
		sim.create(textToVideo, withCallback)
		time.Sleep(time.Hour)
		synctest.Wait()
		check(t, sim, calls.received())
	})
}

func statuses(got []received) string {
	list := make([]string, len(got))
	for i, c := range got {
		list[i] = c.status
	}
	return strings.Join(list, " ")
}

func TestCallbackModes(t *testing.T) {
	t.Parallel()
	for mode, want := range map[klingtest.CallbackMode]string{
		klingtest.EveryChange:  "processing succeed",
		klingtest.AllChanges:   "submitted processing succeed",
		klingtest.TerminalOnly: "succeed",
		klingtest.None:         "",
	} {
		oneTask(t, klingtest.Options{Callbacks: mode}, func(t *testing.T, sim api, got []received) {
			if statuses(got) != want {
				t.Errorf("mode %d: callbacks %q, want %q", mode, statuses(got), want)
			}
			if v := sim.Tasks()[0]; v.CallbacksSent != len(got) || v.CallbacksAccepted != len(got) {
				t.Errorf("mode %d: %d sent, %d accepted, %d received", mode, v.CallbacksSent, v.CallbacksAccepted, len(got))
			}
		})
	}
}

func TestCallbackForm(t *testing.T) {
	t.Parallel()
	oneTask(t, klingtest.Options{}, func(t *testing.T, _ api, got []received) {
		for name, want := range map[string]string{
			"Content-Type":      "application/json; charset=utf-8",
			"User-Agent":        "Apache-HttpClient/4.5.13 (Java/11.0.14-internal)",
			"Accept-Encoding":   "gzip,deflate",
			"X-Kling-Simulated": "true",
			"webhook-signature": "",
		} {
			if value := got[1].header.Get(name); value != want {
				t.Errorf("%s: %q, want %q", name, value, want)
			}
		}
		if !strings.Contains(string(got[1].body), "&Expires=") {
			t.Errorf("body %s, want & as it is", got[1].body)
		}
	})
}

func TestWrappedCallback(t *testing.T) {
	t.Parallel()
	oneTask(t, klingtest.Options{CallbackShape: klingtest.Wrapped}, func(t *testing.T, sim api, got []received) {
		object := decode(t, got[1].body)
		data, _ := object["data"].(map[string]any)
		if object["message"] != "success" || data["task_id"] != sim.Tasks()[0].ID || object["task_id"] != nil {
			t.Errorf("body %s", got[1].body)
		}
	})
}

func TestSignedCallbacks(t *testing.T) {
	t.Parallel()
	const secret = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="
	verifier, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	oneTask(t, klingtest.Options{WebhookSecret: secret}, func(t *testing.T, _ api, got []received) {
		for _, c := range got {
			if err := verifier.VerifyIgnoringTimestamp(c.body, c.header); err != nil {
				t.Errorf("%s: %v", c.status, err)
			}
		}
		if got[0].header.Get("webhook-id") == got[1].header.Get("webhook-id") {
			t.Error("two callbacks share an id")
		}
	})
}

func TestCallbackFaults(t *testing.T) {
	t.Parallel()
	type fault = klingtest.CallbackFault
	at := func(status string, f fault) klingtest.Faults {
		return klingtest.Faults{Callback: func(v klingtest.CallbackView) fault {
			if v.Status == status {
				return f
			}
			return fault{}
		}}
	}
	for name, tt := range map[string]struct {
		faults klingtest.Faults
		want   string
	}{
		"lost":          {at("succeed", fault{Lose: true}), "processing"},
		"repeated":      {at("processing", fault{Repeat: 2}), "processing processing processing succeed"},
		"delayed":       {at("processing", fault{Delay: 10 * time.Minute}), "succeed processing"},
		"reordered":     {at("processing", fault{Reorder: true}), "succeed processing"},
		"early":         {at("submitted", fault{Early: true}), "succeed"},
		"dice: lost":    {klingtest.Faults{LoseCallback: 1}, ""},
		"dice: order":   {klingtest.Faults{ReorderCallback: 1}, "succeed processing"},
		"dice: early":   {klingtest.Faults{EarlyCallback: 1}, "succeed"},
		"nothing wrong": {at("", fault{}), "processing succeed"},
	} {
		oneTask(t, klingtest.Options{Faults: tt.faults}, func(t *testing.T, _ api, got []received) {
			if statuses(got) != tt.want {
				t.Errorf("%s: callbacks %q, want %q", name, statuses(got), tt.want)
			}
		})
	}
}

func TestRepeatsShareTheirID(t *testing.T) {
	t.Parallel()
	o := klingtest.Options{
		WebhookSecret: "whsec_c2VjcmV0", Callbacks: klingtest.TerminalOnly, Faults: klingtest.Faults{RepeatCallback: 1},
	}
	oneTask(t, o, func(t *testing.T, _ api, got []received) {
		if len(got) < 2 || len(got) > 4 {
			t.Fatalf("%d callbacks, want 2 to 4", len(got))
		}
		for _, c := range got[1:] {
			if c.header.Get("webhook-id") != got[0].header.Get("webhook-id") || string(c.body) != string(got[0].body) {
				t.Error("a repeat differs from its first")
			}
		}
	})
}

func TestLateCallback(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var late time.Duration
		calls := &receiver{}
		sim := newAPI(t, klingtest.Options{
			CallbackHTTP: calls.client(), Callbacks: klingtest.TerminalOnly, Faults: klingtest.Faults{LateCallback: 1},
		})
		ended := time.Now().Add(230 * time.Second)
		calls.answer = func(received) int { late = time.Since(ended); return http.StatusOK }
		sim.create(textToVideo, withCallback)
		time.Sleep(time.Hour)
		synctest.Wait()
		if late < 5*time.Second || late > time.Minute {
			t.Errorf("%s late, want 5s to 1m", late)
		}
	})
}

// TestEarlyCallbackComesBeforeTheReply asks, at the time of the callback, whether the create call was answered.
func TestEarlyCallbackComesBeforeTheReply(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := &receiver{}
		sim := newAPI(t, klingtest.Options{CallbackHTTP: calls.client(), Faults: klingtest.Faults{EarlyCallback: 1}})
		replied := false
		calls.answer = func(c received) int {
			if replied || c.status != klingtest.StatusSucceed {
				t.Errorf("callback %s; create call answered: %t", c.status, replied)
			}
			return http.StatusOK
		}
		got := sim.post(textToVideo, withCallback)
		replied = true
		if status := decode(t, got.Data)["task_status"]; status != "submitted" || len(calls.received()) != 1 {
			t.Errorf("the create call says %v after %d callbacks", status, len(calls.received()))
		}
	})
}

func TestCallbackRetries(t *testing.T) {
	t.Parallel()
	for retries, want := range map[int]int{0: 1, 1: 2, 5: 3} {
		synctest.Test(t, func(t *testing.T) {
			var at []time.Duration
			begun := time.Now()
			calls := &receiver{}
			calls.answer = func(received) int {
				at = append(at, time.Since(begun).Round(time.Second))
				if len(at) < 3 {
					return http.StatusServiceUnavailable
				}
				return http.StatusOK
			}
			sim := newAPI(t, klingtest.Options{
				CallbackHTTP: calls.client(), CallbackRetries: retries, CallbackBackoff: time.Minute,
				Callbacks: klingtest.TerminalOnly, Duration: time.Minute,
			})
			sim.create(textToVideo, withCallback)
			time.Sleep(time.Hour)
			synctest.Wait()
			times := []time.Duration{time.Minute, 2 * time.Minute, 3 * time.Minute}[:want]
			if !slices.Equal(at, times) {
				t.Errorf("%d retries: sent at %v, want %v", retries, at, times)
			}
		})
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := &receiver{answer: func(received) int { return http.StatusTemporaryRedirect }}
		sim := newAPI(t, klingtest.Options{CallbackHTTP: calls.client(), Callbacks: klingtest.TerminalOnly})
		id := sim.create(textToVideo, withCallback)
		time.Sleep(time.Hour)
		synctest.Wait()
		if v, _ := sim.Task(id); v.CallbacksSent != 1 || v.CallbacksAccepted != 0 || len(calls.received()) != 1 {
			t.Errorf("%d sent, %d accepted, %d received", v.CallbacksSent, v.CallbacksAccepted, len(calls.received()))
		}
	})
}
