package bridge_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

// metered returns o with metrics that the replica serves as the program does.
func metered(t *testing.T, o bridge.Options) bridge.Options {
	t.Helper()
	registry := prometheus.NewRegistry()
	reader, err := otelprometheus.New(otelprometheus.WithRegisterer(registry), otelprometheus.WithoutScopeInfo(),
		otelprometheus.WithoutTargetInfo(), otelprometheus.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes))
	if err != nil {
		t.Fatal(err)
	}
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	t.Cleanup(func() { _ = provider.Shutdown(context.WithoutCancel(t.Context())) })
	o.MeterProvider, o.Metrics = provider, promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	return o
}

// scrape returns what the first replica's /metrics says, by series: the name and its labels as they are written.
func (w *world) scrape() map[string]float64 {
	w.t.Helper()
	status, text := get(w.t, w.replicas[0].adminURL+"/metrics")
	if status != http.StatusOK {
		w.t.Fatalf("scrape: %d %s", status, text)
	}
	series := map[string]float64{}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		name, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		if value == "" {
			name, value, _ = strings.Cut(strings.TrimSpace(line), " ")
		} else {
			name += "}"
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			w.t.Fatalf("scrape: %q", line)
		}
		series[name] = n
	}
	return series
}

// counted waits until a scrape says all that is wanted: a completion is stored a moment before it is counted.
func (w *world) counted(want map[string]float64) map[string]float64 {
	w.t.Helper()
	var last map[string]float64
	differs := func() (lines []string) {
		last = w.scrape()
		for _, name := range slices.Sorted(maps.Keys(want)) {
			if got, ok := last[name]; !ok || got != want[name] {
				lines = append(lines, fmt.Sprintf("%s is %v (there: %t), want %v", name, got, ok, want[name]))
			}
		}
		return lines
	}
	defer func() {
		if w.t.Failed() {
			w.t.Log(strings.Join(differs(), "\n"))
		}
	}()
	w.eventually("the scrape is right", func() bool { return len(differs()) == 0 })
	return last
}

func TestMetricsOfRealFlows(t *testing.T) {
	t.Parallel()
	w := start(t, setup{
		sim: klingtest.Options{
			Slots: map[kling.Pool]int{kling.PoolVideo: 2},
			DurationOf: func(v klingtest.TaskView) time.Duration {
				if v.Prompt == "hold" {
					return time.Hour
				}
				return 60 * time.Millisecond
			},
			Faults: klingtest.Faults{Callback: func(v klingtest.CallbackView) klingtest.CallbackFault {
				end := v.Status != klingtest.StatusSubmitted && v.Status != klingtest.StatusProcessing
				return klingtest.CallbackFault{Lose: strings.Contains(v.Prompt, "lose") || !end}
			}},
		},
		bridge: metered(t, bridge.Options{PollAfter: 4 * time.Second, PollMinInterval: 100 * time.Millisecond}), // time for callbacks
	})
	for i, prompt := range []string{"a", "b", "c", "lose it", "fail: no", "[policy]"} {
		w.submit(fmt.Sprintf("flow-%d", i), prompt)
	}
	w.request(testRequest{Kind: "image-generations", ID: "image", Priority: events.PriorityHigh,
		Body: body(map[string]any{"prompt": "a"})})
	for i := range 6 {
		w.await(fmt.Sprintf("flow-%d", i))
	}
	w.await("image")
	w.settledDown()

	tasks := w.sim.Tasks()
	for _, task := range tasks {
		if task.Kind.Name == "text2video" && task.Prompt == "a" {
			w.post(task.CallbackURL, v1Body(task, "succeed"))
			w.post(task.CallbackURL, "no JSON")
			w.post(task.CallbackURL, strings.Replace(v1Body(task, "succeed"), task.ID, "1234567890", 1))
			w.post(task.CallbackURL+"0", v1Body(task, "succeed"))
			w.post(w.replicas[0].callbackURL+"/callbacks/text2video/x/y", "{}")
			w.do(http.MethodGet, task.CallbackURL, "", nil)
		}
	}
	got := w.counted(map[string]float64{
		`kling_requests_total{kind="text2video",priority="normal"}`:                            6,
		`kling_requests_total{kind="image-generations",priority="high"}`:                       1,
		`kling_tasks_total{kind="text2video"}`:                                                 5,
		`kling_tasks_total{kind="image-generations"}`:                                          1,
		`kling_completions_total{kind="text2video",source="callback",status="succeed"}`:        3,
		`kling_completions_total{kind="text2video",source="callback",status="failed"}`:         1,
		`kling_completions_total{kind="text2video",source="poll",status="succeed"}`:            1,
		`kling_completions_total{kind="text2video",source="bridge",status="rejected"}`:         1,
		`kling_completions_total{kind="image-generations",source="callback",status="succeed"}`: 1,
		`kling_dead_letters_total{class="policy"}`:                                             1,
		`kling_submit_duration_seconds_count{pool="video",priority="normal"}`:                  5,
		`kling_submit_duration_seconds_count{pool="image",priority="high"}`:                    1,
		`kling_task_duration_seconds_count{kind="text2video",status="succeed"}`:                4,
		`kling_task_duration_seconds_count{kind="text2video",status="failed"}`:                 1,
		`kling_call_errors_total{call="create",code="1301"}`:                                   1,
		`kling_call_duration_seconds_count{call="create"}`:                                     float64(w.sim.Calls().Creates),
		`kling_callbacks_total{outcome="stored"}`:                                              5,
		`kling_callback_duration_seconds_count`:                                                5,
		`kling_callbacks_total{outcome="repeated"}`:                                            1,
		`kling_callbacks_total{outcome="malformed"}`:                                           1,
		`kling_callbacks_total{outcome="contradicting"}`:                                       1,
		`kling_callbacks_total{outcome="forged"}`:                                              2,
		`kling_callbacks_total{outcome="not_posted"}`:                                          1,
		`kling_callbacks_total{outcome="unavailable"}`:                                         0,
		`kling_poll_tasks_total{outcome="ended"}`:                                              1,
		`kling_units_total{kind="text2video"}`:                                                 w.units("text2video"),
		`kling_slots_used{pool="video"}`:                                                       0,
		`kling_ready`:                                                                          1,
		`kling_callbacks_enabled`:                                                              1,
	})
	if w.units("text2video") == 0 {
		t.Error("no task cost anything")
	}
	if _, known := got[`kling_slots_limit{pool="image"}`]; known {
		t.Error("a limit is shown that nobody has met")
	}
	w.showsLimit()
}

// showsLimit fills both slots. Only what stays there tells how many there are: of a task that has ended at Kling, and is not
// known to have, the slot is free and counts as taken.
func (w *world) showsLimit() {
	w.t.Helper()
	before := len(w.sim.Tasks())
	for i := range 3 {
		w.submit(fmt.Sprintf("hold-%d", i), "hold")
	}
	if err := w.sim.WaitTasks(w.ctx, before+2); err != nil {
		w.t.Fatal(err)
	}
	w.eventually("the limit and all refusals are shown", func() bool {
		refused := w.sim.Calls().Refused[1303]
		got := w.scrape()
		return refused > 0 && got[`kling_call_errors_total{call="create",code="1303"}`] == float64(refused) &&
			got[`kling_slots_limit{pool="video"}`] == 2 && got[`kling_slots_used{pool="video"}`] == 2
	})
}

// units adds up what the completions of a kind say they cost.
func (w *world) units(kind string) (sum float64) {
	w.t.Helper()
	for _, m := range w.stored("KLING_EVENTS", "kling.completion."+kind+".>") {
		var ev events.Event
		if err := json.Unmarshal(m.Data, &ev); err != nil {
			w.t.Fatal(err)
		}
		if units, err := strconv.ParseFloat(ev.Units, 64); err == nil { // a rejected request has none
			sum += units
		}
	}
	return sum
}

func TestMetricsOfWaitingRequests(t *testing.T) {
	t.Parallel()
	sim := silent()
	sim.Slots = map[kling.Pool]int{kling.PoolVideo: 1}
	w := start(t, setup{sim: sim, bridge: metered(t, bridge.Options{Concurrency: map[kling.Pool]int{kling.PoolVideo: 7}})})
	w.task("text2video", "has-the-slot")
	for i := range 2 {
		w.submit(fmt.Sprintf("waits-%d", i), "a")
	}
	w.request(testRequest{Kind: "text2video", Priority: events.PriorityLow, Body: body(map[string]any{"prompt": "a"})})
	w.eventually("Kling has no slot left", func() bool { return w.sim.Calls().Refused[1303] > 0 })
	w.eventually("one request is a task", func() bool { return w.count("KLING_REQUESTS", "kling.request.>") == 3 })
	got := w.counted(map[string]float64{
		`kling_waiting_requests{pool="video",priority="normal"}`: 2,
		`kling_waiting_requests{pool="video",priority="low"}`:    1,
		`kling_waiting_requests{pool="video",priority="high"}`:   0,
		`kling_slots_used{pool="video"}`:                         1,
		`kling_slots_limit{pool="video"}`:                        1,
		`kling_slots_cap{pool="video"}`:                          7,
	})
	if got["kling_waiting_age_seconds"] <= 0 {
		t.Errorf("the oldest has waited for %v s", got["kling_waiting_age_seconds"])
	}
}

func TestMetricsOfAPause(t *testing.T) {
	t.Parallel()
	w := start(t, setup{
		sim: klingtest.Options{Faults: klingtest.Faults{Create: func(klingtest.CreateView) klingtest.Fault {
			return klingtest.Answer{Code: 1102}
		}}},
		bridge:   metered(t, bridge.Options{}),
		pollOnly: true,
	})
	w.counted(map[string]float64{
		`kling_paused{component="pool:video",generation="v1"}`: 0, `kling_ready`: 1, `kling_callbacks_enabled`: 0,
	})
	w.submit("paused", "a")
	w.counted(map[string]float64{
		`kling_paused{component="pool:video",generation="v1"}`: 1,
		`kling_paused{component="pool:video",generation="v2"}`: 0,
		`kling_paused{component="kling",generation="v1"}`:      0,
		`kling_call_errors_total{call="create",code="1102"}`:   1,
		`kling_ready`: 0,
	})
}

func TestMetricsWithoutJetStream(t *testing.T) {
	t.Parallel()
	srv := bustest.Start(t)
	w := start(t, setup{sim: silent(), natsURL: srv.URL(), bridge: metered(t, bridge.Options{})})
	task := w.task("text2video", "down")
	srv.Stop()
	w.post(task.CallbackURL, v1Body(task, "succeed"))
	got := w.counted(map[string]float64{`kling_callbacks_total{outcome="unavailable"}`: 1, `kling_ready`: 0})
	if got["kling_publish_retries_total"] == 0 {
		t.Error("no publish was tried again")
	}
	srv.Restart()
	w.counted(map[string]float64{`kling_ready`: 1})
}

// TestMetricsAreBounded sends many requests that have nothing in common.
func TestMetricsAreBounded(t *testing.T) { // by itself: it takes what the machine has
	const requests = 300
	w := start(t, setup{
		sim:    klingtest.Options{Slots: map[kling.Pool]int{kling.PoolVideo: requests}},
		bridge: metered(t, bridge.Options{}),
	})
	send := func(i int) string {
		w.post(fmt.Sprintf("%s/callbacks/kind-%d/%d/%d", w.replicas[0].callbackURL, i, i, i), "{}")
		return w.request(testRequest{
			Kind: "text2video", ID: fmt.Sprintf("odd id %d", i), Body: body(map[string]any{"prompt": fmt.Sprint(i)}),
			Metadata: map[string]string{fmt.Sprintf("Name-%d", i): fmt.Sprint(i)},
		})
	}
	settle := func(n float64) map[string]float64 {
		w.settledDown()
		return w.counted(map[string]float64{
			`kling_completions_total{kind="text2video",source="callback",status="succeed"}`: n,
			`kling_callbacks_total{outcome="forged"}`:                                       n,
		})
	}
	w.await(send(0))
	before := settle(1)
	for i := range requests - 1 {
		send(i + 1)
	}
	after := settle(requests)
	for name := range after {
		waited := strings.HasPrefix(name, `kling_slot_handover_`) && strings.Contains(name, `{pool="video"`) // no request had to before
		if _, known := before[name]; !known && !waited {
			t.Errorf("%s has come up", name)
		}
	}
}

func TestNoMetricsWithoutAHandler(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	if status, _ := get(t, w.replicas[0].adminURL+"/metrics"); status != http.StatusNotFound {
		t.Errorf("got %d", status)
	}
}
