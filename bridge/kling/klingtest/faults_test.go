package klingtest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
)

// outcome is what a client sees of a call over a real connection.
type outcome struct {
	status int // zero: no answer
	body   string
	broken error // the answer, or reading it
}

func call(ctx context.Context, t *testing.T, url string) outcome {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url+textToVideo, strings.NewReader(`{"prompt":"p"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+key)
	r.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		return outcome{broken: err}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return outcome{response.StatusCode, string(body), err}
}

func TestCreateFaults(t *testing.T) {
	t.Parallel()
	for fault, want := range map[klingtest.Fault]struct {
		status int
		part   string
		broken bool
		stored int
	}{
		klingtest.ResetAfterStore:       {0, "", true, 1},
		klingtest.Gateway504AfterStore:  {504, "<html>", false, 1},
		klingtest.TruncateAfterStore:    {200, `{"code":0,`, true, 1},
		klingtest.Error500AfterStore:    {500, `"code":5000`, false, 1},
		klingtest.ResetBeforeStore:      {0, "", true, 0},
		klingtest.Error500NoTask:        {500, `"code":5000`, false, 0},
		klingtest.Error503NoTask:        {503, `"code":5001`, false, 0},
		klingtest.HTML502NoTask:         {502, "<html>", false, 0},
		klingtest.HTML404:               {404, "<html>", false, 0},
		klingtest.TooFast1302:           {429, `"code":1302`, false, 0},
		klingtest.TooFastNoCode429:      {429, "", false, 0},
		klingtest.Slow(time.Nanosecond): {200, `"code":0`, false, 1},

		klingtest.Answer{Code: 1102}:                                       {429, "Account balance not enough", false, 0},
		klingtest.Answer{HTTPStatus: 200, Code: 1201, Message: "so there"}: {200, `"message":"so there"`, false, 0},
	} {
		sim := klingtest.Start(t, klingtest.Options{APIKeys: []string{key}, Faults: klingtest.Faults{
			Create: func(klingtest.CreateView) klingtest.Fault { return fault },
		}})
		got := call(t.Context(), t, sim.URL)
		if got.status != want.status || !strings.Contains(got.body, want.part) || (got.broken != nil) != want.broken {
			t.Errorf("%v: %d %q %v; want %+v", fault, got.status, got.body, got.broken, want)
		}
		if n := len(sim.Tasks()); n != want.stored {
			t.Errorf("%v: %d tasks stored, want %d", fault, n, want.stored)
		}
	}
}

func TestHangUntilTheClientGoes(t *testing.T) {
	t.Parallel()
	sim := klingtest.Start(t, klingtest.Options{APIKeys: []string{key}, Faults: klingtest.Faults{
		Create: func(klingtest.CreateView) klingtest.Fault { return klingtest.HangAfterStore },
	}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan outcome, 2)
	go func() { done <- call(ctx, t, sim.URL) }()
	if err := sim.WaitTasks(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	cancel()
	if got := <-done; !errors.Is(got.broken, context.Canceled) {
		t.Errorf("after the client has gone: %+v", got)
	}

	go func() { done <- call(t.Context(), t, sim.URL) }()
	if err := sim.WaitTasks(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	sim.Close()
	if got := <-done; got.broken == nil {
		t.Errorf("after Close: %+v, want no answer", got)
	}
}

// TestRefusalIsNotLost: nothing was stored, so there is nothing to be unsure of.
func TestRefusalIsNotLost(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{Faults: klingtest.Faults{
		Create: func(v klingtest.CreateView) klingtest.Fault {
			if v.Seen == 0 {
				return nil
			}
			return klingtest.Error500AfterStore
		},
	}})
	const body = `{"prompt":"p","external_task_id":"job-1"}`
	sim.create(textToVideo, body)
	sim.refused(textToVideo, body, http.StatusBadRequest, 1201)
}

// TestSlowIsHandledAnyway: a task appears after its client has given up.
func TestSlowIsHandledAnyway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := newAPI(t, klingtest.Options{Speed: 2, Faults: klingtest.Faults{
			Create: func(klingtest.CreateView) klingtest.Fault { return klingtest.Slow(time.Minute) },
		}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		sim.do(sim.request(http.MethodPost, textToVideo, `{"prompt":"p"}`).WithContext(ctx))
		if took := time.Since(begun); took != 30*time.Second || len(sim.Tasks()) != 1 {
			t.Errorf("took %s, %d tasks; want 30s, halved by the speed, and one task", took, len(sim.Tasks()))
		}
	})
}

func TestQueryFaults(t *testing.T) {
	t.Parallel()
	var seen []klingtest.QueryView
	sim := newAPI(t, klingtest.Options{Faults: klingtest.Faults{
		Query: func(v klingtest.QueryView) klingtest.Fault {
			seen = append(seen, v)
			return klingtest.Error500AfterStore
		},
	}})
	id := sim.create(textToVideo, `{"prompt":"p"}`)
	for _, path := range []string{
		textToVideo + "/" + id, textToVideo, "/tasks?task_ids=1,2", "/account/costs?start_time=1&end_time=2",
	} {
		if got := sim.get(path); got.Code != 5000 {
			t.Errorf("GET %s: %s", path, got.Body)
		}
	}
	if len(seen) != 4 || seen[0].Kind != "text2video" || seen[0].IDs[0] != id || len(seen[2].IDs) != 2 ||
		seen[3].Route != klingtest.RouteCosts {
		t.Errorf("asked about %+v", seen)
	}
	if got := sim.get(textToVideo + "/other"); got.Code != 1201 {
		t.Errorf("unknown task: %s; want the refusal, which no effect loses", got.Body)
	}
}

func TestDice(t *testing.T) {
	t.Parallel()
	codes := func(seed uint64) (stored int, httpStatuses string) {
		sim := newAPI(t, klingtest.Options{Seed: seed, Speed: 1e9, Slots: noLimit(), Faults: klingtest.Faults{
			ServerError: 0.2, TooFast: 0.2, Slow: 0.2,
		}})
		var b strings.Builder
		for range 100 {
			b.WriteString(http.StatusText(sim.post(textToVideo, `{"prompt":"p"}`).HTTPStatus) + ",")
		}
		return len(sim.Tasks()), b.String()
	}
	stored, first := codes(1)
	_, again := codes(1)
	_, other := codes(2)
	if first != again || first == other {
		t.Error("the same seed has to throw the same dice, another one others")
	}
	for _, want := range []string{
		"OK", "Too Many Requests", "Internal Server Error", "Service Unavailable", "Bad Gateway",
	} {
		if !strings.Contains(first, want+",") {
			t.Errorf("no answer %q in 100", want)
		}
	}
	if ok := strings.Count(first, "OK,"); stored != ok || ok < 40 || ok > 90 {
		t.Errorf("%d of 100 accepted, %d stored", ok, stored)
	}
}

func TestLoseReply(t *testing.T) {
	t.Parallel()
	sim := klingtest.Start(t, klingtest.Options{
		APIKeys: []string{key}, Slots: noLimit(), Faults: klingtest.Faults{LoseReply: 1},
	})
	for range 20 {
		if got := call(t.Context(), t, sim.URL); got.broken == nil && got.status < 500 {
			t.Errorf("answered %+v", got)
		}
	}
	if n := len(sim.Tasks()); n != 20 {
		t.Errorf("%d tasks, want 20", n)
	}
}
