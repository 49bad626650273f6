package bridge_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

// TestConsole uses the console in a browser, as a person would, on a bridge whose one image slot is taken for long.
func TestConsole(t *testing.T) {
	t.Parallel()
	broke := &atomic.Bool{}
	w := start(t, setup{
		bridge: bridge.Options{Simulated: true, TraceURL: "https://traces.example/{trace_id}", ProbeInterval: time.Second},
		sim: klingtest.Options{
			Faults: klingtest.Faults{Create: func(v klingtest.CreateView) klingtest.Fault {
				if v.Kind.Pool == kling.PoolTryOn && broke.Load() {
					return klingtest.Answer{Code: 1102}
				}
				return nil
			}},
			Slots: map[kling.Pool]int{"image": 1},
			DurationOf: func(v klingtest.TaskView) time.Duration {
				if v.Kind.Pool == "image" || v.Prompt == endedByHand {
					return time.Hour
				}
				return 60 * time.Millisecond
			},
		},
	})
	w.broke = broke
	b := browser(t)
	for _, test := range []struct {
		name string
		run  func(context.Context, *testing.T, *world)
	}{
		{"Live", seeLive}, {"Story", seeStory}, {"Search", search}, {"Replay", replay}, {"Cancel", cancelWaiting}, {"Pick", pickRequests},
		{"Again", sendAgain}, {"Variants", seeVariants}, {"Lists", liveList}, {"Away", stayReadable}, {"Wide", searchWidely}, {"Dead", handleDead},
		{"Pause", pauseAndMend}, {"Times", readTimes}, {"New", askAnew},
		{"Keyboard", useKeyboard}, {"Script", showScriptAsText}, {"Phone", fitPhone}, {"Colors", readInBothSchemes}, {"Login", logIn},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(b, t, w) })
	}
}

// endedByHand is the prompt of a task that ends when the test says so.
const endedByHand = "a lighthouse, for as long as it takes"

func (w *world) console() string { return w.replicas[0].adminURL + "/" }

// seeLive watches a request come and end without loading the page again.
func seeLive(b context.Context, t *testing.T, w *world) {
	p := openTab(b, t, w.console())
	p.shows("simulated")
	p.until("the pools are shown", "document.querySelectorAll('.pool').length === 3")
	p.until("the hour is loaded", "document.querySelector('.tiles')?.innerText.includes('Units') && !document.querySelector('.tiles').innerText.includes('…')")
	p.until("the connection is live", "document.getElementById('link').textContent === 'live'")
	eval[bool](p, "window.loadedOnce = true")
	w.submit("seen-live", "a lighthouse")
	p.until("its end is shown", "[...document.querySelectorAll('#events li')].some((row) => row.innerText.includes('seen-live') && row.innerText.includes('succeed'))")
	if !eval[bool](p, "window.loadedOnce === true") {
		t.Error("the page was loaded again")
	}
	p.until("the end is counted", "document.querySelector('.tiles').innerText.includes('1 of 1')")
	p.until("its units are counted", "document.querySelector('.shares')?.innerText.includes('text2video')")
}

// seeStory looks at one request's life and result.
func seeStory(b context.Context, t *testing.T, w *world) {
	w.request(testRequest{
		Kind: "text2video", ID: "told", Body: body(map[string]any{"prompt": endedByHand}),
		Metadata: map[string]string{"Tenant": "acme"},
	})
	w.eventually("the task is processed", func() bool { return w.count("KLING_EVENTS", "kling.progress.*.processing.told") == 1 })
	tasks := w.sim.Tasks()
	if err := w.sim.Finish(tasks[len(tasks)-1].ID); err != nil {
		t.Fatal(err)
	}
	ev := w.await("told")
	p := openTab(b, t, w.console()+"#/task/told")
	p.shows("From request to completion")
	steps := eval[[]string](p, "[...document.querySelectorAll('.timeline .what .status')].map((step) => step.textContent)")
	if got := strings.Join(steps, " "); got != "requested submitted processing succeed" {
		t.Errorf("the timeline is %q", got)
	}
	for _, want := range []string{ev.TaskID, ev.ExternalTaskID, "acme"} {
		p.shows(want)
	}
	if url := eval[string](p, "document.querySelector('video').src"); url != ev.Result.Videos[0].URL {
		t.Errorf("the video shown is %s, want %s", url, ev.Result.Videos[0].URL)
	}
	p.until("the video can be played", "document.querySelector('video')?.readyState >= 1")
}

// search finds a request by each of its ids.
func search(b context.Context, t *testing.T, w *world) {
	w.submit("sought", "a lighthouse")
	ev := w.await("sought")
	p := openTab(b, t, w.console())
	for _, words := range []string{"sought", ev.TaskID, ev.ExternalTaskID} {
		p.do(chromedp.SetValue(chromedp.CSS("#words"), words), chromedp.SendKeys(chromedp.CSS("#words"), kb.Enter))
		p.until(words+" is found", "location.hash === '#/task/sought' && document.body.innerText.includes('From request to completion')")
		p.do(chromedp.Navigate(w.console() + "#/"))
	}
	p.do(chromedp.SetValue(chromedp.CSS("#words"), "nothing-like-it"), chromedp.SendKeys(chromedp.CSS("#words"), kb.Enter))
	p.shows("No request, task or external id is exactly this")
}

// replay sends a dead letter again, which wants two presses.
func replay(b context.Context, t *testing.T, w *world) {
	w.request(testRequest{Kind: "text2video", ID: "dead", Body: body(map[string]any{"prompt": "[policy]"})})
	w.await("dead")
	p := openTab(b, t, w.console()+"#/dead")
	p.shows("policy")
	p.do(chromedp.Click(chromedp.CSS(".replay")))
	p.shows("Send it to Kling, paid?")
	p.do(chromedp.Click(chromedp.CSS(".replay")))
	p.shows("Replayed as dead-r1")
	if ev := w.await("dead-r1"); ev.ReplayOf != "dead" {
		t.Errorf("the replay is of %q", ev.ReplayOf)
	}
}

// cancelWaiting ends a request that waits for a slot.
func cancelWaiting(b context.Context, t *testing.T, w *world) {
	for _, id := range []string{"takes-the-slot", "waits"} {
		w.request(testRequest{Kind: "image-generations", ID: id, Body: body(map[string]any{"prompt": "a lighthouse"})})
		w.eventually(id+" is known", func() bool {
			task, err := w.client.Task(w.ctx, id)
			return err == nil && (id == "waits" || task.Status == events.StatusSubmitted || task.Status == events.StatusProcessing)
		})
	}
	p := openTab(b, t, w.console())
	p.until("it is seen waiting", "document.querySelector('[data-pool=image] .waiting')?.textContent.startsWith('1 (1 normal)')")
	p.do(chromedp.Navigate(w.console() + "#/tasks?status=waiting"))
	p.shows("waits")
	p.do(chromedp.Click(chromedp.CSS(".act button")), chromedp.Click(chromedp.CSS(".act button.sure")))
	if ev := w.await("waits"); ev.Status != events.StatusCancelled {
		t.Errorf("it ended as %s", ev.Status)
	}
	p.shows("cancelled")
}

// pickRequests finds what an operator asks for: what went wrong and why, whose callbacks never came, what it cost, why one waits.
func pickRequests(b context.Context, t *testing.T, w *world) {
	w.submit("went-wrong", "fail: Kling has no idea")
	w.await("went-wrong")
	w.submit("went-well", "a lighthouse")
	ev := w.await("went-well")
	for _, id := range []string{"holds-the-slot", "stays"} { // or another one holds it
		w.request(testRequest{Kind: "image-generations", ID: id, Body: body(map[string]any{"prompt": "a lighthouse"})})
	}
	w.untilStatus("stays", events.StatusWaiting)
	w.eventually("the slot is taken", func() bool {
		task, err := w.client.Task(w.ctx, "stays")
		return err == nil && strings.Contains(task.WaitsFor, "(1 of 1 taken)")
	})

	p := openTab(b, t, w.console()+"#/tasks")
	p.shows("went-well")
	choose := func(name, value string) {
		p.until(name+" can be chosen", "document.querySelector('select[name="+name+"]')")
		eval[bool](p, "(() => { const s = document.querySelector('select[name="+name+"]'); s.value = "+quote(value)+
			"; return s.dispatchEvent(new Event('change')); })()")
	}
	choose("status", "failed,rejected,expired,cancelled")
	choose("since", "1")
	p.until("only what went wrong is shown, and why", "document.querySelector('.list').innerText.includes('kling: Kling has no idea') && "+
		"!document.querySelector('.list').innerText.includes('went-well')")
	choose("status", "succeed")
	p.until("what it cost is summed up", "document.querySelector('.list').innerText.includes('went-well') && "+
		"parseFloat(document.querySelector('.sum').innerText.split(', ')[1]) >= "+ev.Units)
	choose("status", "")
	choose("source", "poll")
	p.shows("There are none.")
	p.do(chromedp.Navigate(w.console() + "#/task/stays"))
	p.shows("waits for a slot of pool image (1 of 1 taken)")
	if err := w.client.Cancel(w.ctx, "stays"); err != nil {
		t.Error(err)
	}
}

// useKeyboard goes through the page without a mouse, and sees where it is.
func useKeyboard(b context.Context, t *testing.T, w *world) {
	w.submit("by-keys", "a lighthouse")
	w.await("by-keys")
	p := openTab(b, t, w.console())
	p.until("the event is shown", "document.querySelector('#events a') !== null")
	p.do(chromedp.KeyEvent(kb.Tab))
	if got := eval[string](p, "document.activeElement.textContent"); got != "Skip to content" {
		t.Errorf("the first stop is %q", got)
	}
	p.until("the skip link is in sight", "document.activeElement.getBoundingClientRect().top >= 0")
	p.do(chromedp.KeyEvent(kb.Enter))
	if got := eval[string](p, "document.activeElement.id"); got != "main" {
		t.Errorf("skipping leads to %q", got)
	}
	p.press("/")
	if got := eval[string](p, "document.activeElement.id + '=' + document.activeElement.value"); got != "words=" {
		t.Errorf("the key / leads to %q", got)
	}
	if outline := eval[float64](p, "parseFloat(getComputedStyle(document.activeElement).outlineWidth)"); outline < 2 {
		t.Errorf("the focus has an outline of %v pixels", outline)
	}
	p.do(chromedp.KeyEvent("by-keys" + kb.Enter))
	p.until("the request is shown", "location.hash === '#/task/by-keys' && document.querySelector('.timeline') !== null")
	for _, landmark := range []string{"header.top", "nav[aria-label]", "form[role=search]", "main", "footer", "html[lang]", "h1"} {
		if !eval[bool](p, "document.querySelector("+quote(landmark)+") !== null") {
			t.Errorf("there is no %s", landmark)
		}
	}
}

// showScriptAsText has HTML in an id, a prompt, a key and metadata, and sees it as text on every page.
func showScriptAsText(b context.Context, t *testing.T, w *world) {
	const attack = `<img src=x onerror="window.owned=1">`
	id := w.request(testRequest{
		Kind: "text2video", ID: attack,
		Body:     json.RawMessage(`{"prompt":"<img src=x onerror='window.owned=1'><script>window.owned=1</script>","callback_url":"javascript:1"}`),
		Metadata: map[string]string{"Tenant": attack, "Note": `"><svg onload=window.owned=1>`},
	})
	w.await(id)
	p := openTab(b, t, w.console())
	p.shows(attack)
	p.do(chromedp.Navigate(w.console()+"#/dead"), chromedp.Click(chromedp.CSS("summary")))
	p.shows("</script>")
	p.do(chromedp.Click(chromedp.CSS(".letter .id")))
	p.shows(`"><svg onload=window.owned=1>`)
	p.do(chromedp.Navigate(w.console() + "#/tasks"))
	p.shows(attack)
	if eval[bool](p, "window.owned === 1 || document.querySelector('img[src=x], main script, svg[onload]') !== null") {
		t.Error("the page runs what it should show")
	}
}

// fitPhone looks at every page on a phone: none is wider than the screen.
func fitPhone(b context.Context, t *testing.T, w *world) {
	long := strings.Repeat("w", 128)
	w.submit(long, "a lighthouse")
	w.await(long)
	p := openTab(b, t, w.console())
	p.do(chromedp.EmulateViewport(320, 800, chromedp.EmulateMobile, chromedp.EmulateTouch))
	for page, shows := range map[string]string{
		"#/": long, "#/tasks": long, "#/task/" + long: "From request", "#/dead": "Replay", "#/search/" + long + "x": "exactly this", "#/new": "Sample",
	} {
		p.do(chromedp.Navigate(w.console() + page))
		p.shows(shows)
		if width := eval[int](p, "document.documentElement.scrollWidth"); width > 320 {
			t.Errorf("%s is %d pixels wide", page, width)
		}
	}
}

// contrast is the least contrast of what is read on a page, by the formula of WCAG 2.
const contrast = `(() => {
  const light = (text) => {
    const [r, g, b] = text.match(/[\d.]+/g).map((n) => n / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (e) => {
    const color = getComputedStyle(e).backgroundColor;
    return color === 'rgba(0, 0, 0, 0)' && e.parentElement ? ground(e.parentElement) : color;
  };
  const [least, text] = [...document.querySelectorAll('h2, p, dt, dd, span, a, time, .status, .badge, button')]
    .filter((e) => e.checkVisibility() && e.innerText?.trim())
    .map((e) => [[light(getComputedStyle(e).color), light(ground(e))].sort((a, b) => b - a), e.innerText])
    .map(([[a, b], text]) => [(a + 0.05) / (b + 0.05), text])
    .sort(([a], [b]) => a - b)[0];
  return {least, text};
})()`

// worst is what is hardest to read.
type worst struct {
	Least float64 `json:"least"`
	Text  string  `json:"text"`
}

// readInBothSchemes finds every text readable in the light and in the dark.
func readInBothSchemes(b context.Context, t *testing.T, w *world) {
	p := openTab(b, t, w.console())
	grounds := map[string]bool{}
	for _, scheme := range []string{"light", "dark"} {
		p.colors(scheme)
		grounds[eval[string](p, "getComputedStyle(document.body).backgroundColor")] = true
		for page, shows := range map[string]string{"#/": "sending", "#/dead": "Replay", "#/tasks": "succeed", "#/new": "usually takes"} {
			p.do(chromedp.Navigate(w.console() + page))
			p.shows(shows)
			eval[bool](p, "document.getAnimations().forEach((animation) => animation.finish()) ?? true")
			if got := eval[worst](p, contrast); got.Least < 4.5 {
				t.Errorf("%s, %s: contrast %.2f of %q, want 4.5", page, scheme, got.Least, got.Text)
			}
		}
	}
	if len(grounds) != 2 {
		t.Errorf("both schemes have the background %v", grounds)
	}
}

// logIn finds the console closed off the loopback interface without a token, and is asked for it with one.
func logIn(b context.Context, t *testing.T, w *world) {
	const token = "correct-horse-battery-staple"
	closed := startAnywhere(t, w, "")
	if status, _ := get(t, closed+"/healthz"); status != http.StatusOK {
		t.Errorf("health: status %d", status)
	}
	if status, _ := get(t, closed+"/api/tasks"); status != http.StatusForbidden {
		t.Errorf("questions: status %d", status)
	}
	p := openTab(b, t, closed+"/")
	p.shows("Set BRIDGE_ADMIN_TOKEN")

	asking := startAnywhere(t, w, token)
	p = openTab(b, t, asking+"/")
	p.shows("Log in")
	p.do(chromedp.SendKeys(chromedp.CSS("#token"), "guess"+kb.Enter))
	p.shows("That is not the token.")
	p.do(chromedp.SetValue(chromedp.CSS("#token"), token), chromedp.SendKeys(chromedp.CSS("#token"), kb.Enter))
	p.shows("in flight")
	if cookie := eval[string](p, "document.cookie"); cookie != "" {
		t.Errorf("scripts can read the cookie %q", cookie)
	}
	p.do(chromedp.Reload())
	p.shows("in flight")
	other := openTab(b, t, asking+"/")
	other.shows("in flight")
	p.do(chromedp.Click(chromedp.CSS("#logout")))
	p.until("it asks again", "document.querySelector('#token') !== null")
	other.until("the other tab asks too", "document.querySelector('#token') !== null")
}

// startAnywhere runs a replica whose admin listener other machines can reach, and returns its URL on this one.
func startAnywhere(t *testing.T, w *world, token string) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	r := w.startBridge(setup{bridge: bridge.Options{AdminListener: l, AdminToken: token}})
	return strings.Replace(r.adminURL, "0.0.0.0", "127.0.0.1", 1)
}
