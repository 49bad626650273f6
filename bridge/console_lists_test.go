package bridge_test

import (
	"context"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/klingbridge/klingbridge/events"
)

// liveList is told of what is not in the list, and sees what happens to what is.
func liveList(b context.Context, t *testing.T, w *world) {
	p := openTab(b, t, w.console()+"#/tasks?prefix=fresh-")
	p.shows("There are none.")
	p.until("the connection is live", "document.getElementById('link').textContent === 'live'")
	before := len(w.sim.Tasks())
	w.submit("stale-0", "a lighthouse")
	w.submit("fresh-1", endedByHand)
	p.shows("1 new: show it")
	p.do(chromedp.Click(chromedp.CSS(".fresh")))
	p.until("it is in flight", "/submitted|processing/.test(document.querySelector('.list tbody').innerText)")
	for _, task := range w.sim.Tasks()[before:] {
		if task.Prompt == endedByHand {
			if err := w.sim.Finish(task.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	ev := w.await("fresh-1")
	p.until("its end is shown", "document.querySelector('.list tbody').innerText.includes('succeed') && "+
		"document.querySelector('.list [data-label=Units]').textContent === "+quote(ev.Units))
	if ended := eval[string](p, "document.querySelector('.list [data-label=Ended] time').dateTime"); ended == "" {
		t.Error("it does not tell when it ended")
	}
}

// stayReadable keeps what was known, and says of when, once the bridge is away.
func stayReadable(b context.Context, t *testing.T, w *world) {
	away := w.startBridge(setup{})
	p := openTab(b, t, away.adminURL+"/")
	p.until("the connection is live", "document.getElementById('link').textContent === 'live'")
	p.until("the pools are shown", "document.querySelectorAll('.pool').length === 3")
	away.stop()
	p.until("it says of when it is", `/^as of \d\d:\d\d:\d\d/.test(document.getElementById('link').textContent)`)
	if !eval[bool](p, "document.body.classList.contains('stale') && document.querySelectorAll('.pool').length === 3") {
		t.Error("what was known is gone, or looks as if it were so still")
	}
}

// searchWidely finds requests by how their ids begin, and by metadata.
func searchWidely(b context.Context, t *testing.T, w *world) {
	for _, id := range []string{"wide.1", "wide.2"} {
		w.request(testRequest{
			Kind: "text2video", ID: id, Body: body(map[string]any{"prompt": "a lighthouse"}), Metadata: map[string]string{"Tenant": "of-" + id},
		})
		w.await(id)
	}
	p := openTab(b, t, w.console())
	for _, sought := range [][2]string{{"wide.", "wide.1 wide.2"}, {"Tenant:of-wide.2", "wide.2"}, {"tenant:OF-wide.2", ""}} {
		words, want := sought[0], sought[1]
		p.do(chromedp.SetValue(chromedp.CSS("#words"), words), chromedp.SendKeys(chromedp.CSS("#words"), kb.Enter))
		p.until(words+" finds "+want, "location.hash.startsWith('#/tasks?') && document.querySelector('main h1')?.textContent === 'Requests' && "+
			"[...document.querySelectorAll('.list tbody th a')].map((a) => a.textContent).sort().join(' ') === "+quote(want)+
			" && document.querySelector('.sum, .empty') !== null")
	}
	p.shows("no request has this metadata")
}

// handleDead picks dead letters by words, and replays or dismisses those together.
func handleDead(b context.Context, t *testing.T, w *world) {
	for _, id := range []string{"bulk-1", "bulk-2", "bulk-3"} {
		w.request(testRequest{Kind: "text2video", ID: id, Body: body(map[string]any{"prompt": "[policy]"}), Metadata: map[string]string{"Tenant": id[:4]}})
		w.await(id)
	}
	p := openTab(b, t, w.console()+"#/dead")
	pick := func(words, want string) {
		p.do(chromedp.SetValue(chromedp.CSS("#letters"), words))
		eval[bool](p, "document.querySelector('#letters').dispatchEvent(new Event('input'))")
		p.until(words+" picks "+want, "[...document.querySelectorAll('.letter:not([hidden]) h2 a')].map((a) => a.textContent).sort().join(' ') === "+quote(want))
	}
	p.shows("bulk-3")
	pick("tenant:bulk POLICY text2video", "bulk-1 bulk-2 bulk-3")
	pick("bulk-2", "bulk-2")
	p.do(chromedp.Click(chromedp.CSS(".bulk label input")))
	p.do(chromedp.Click(chromedp.CSS(".all-replay")), chromedp.Click(chromedp.CSS(".all-replay.sure")))
	p.shows("Replayed as bulk-2-r1")
	w.await("bulk-2-r1")
	pick("bulk-3", "bulk-3")
	eval[bool](p, "(() => { const all = document.querySelector('.bulk label input'); all.checked = false; all.click(); return true; })()")
	p.do(chromedp.Click(chromedp.CSS(".all-dismiss")), chromedp.Click(chromedp.CSS(".all-dismiss.sure")))
	pick("bulk-3", "")
	pick("tenant:bulk", "bulk-1 bulk-2")
	if w.count("KLING_DEAD", "kling.dead.*.*.bulk-3") != 0 || w.count("KLING_DEAD", "kling.dead.*.*.bulk-1") != 1 {
		t.Error("something else was dismissed")
	}
	// That it was rejected is known still, and keeps it from being made again.
	w.submit("bulk-3", "a lighthouse")
	w.eventually("the repeat is settled", func() bool { return w.count("KLING_REQUESTS", "kling.request.text2video") == 0 })
	if ev := w.await("bulk-3"); ev.Status != events.StatusRejected || w.count("KLING_EVENTS", "kling.completion.*.*.bulk-3") != 1 {
		t.Errorf("after it was sent anew it is %s", ev.Status)
	}
}

// pauseAndMend sees on every page what is paused, and that it is not any more.
func pauseAndMend(b context.Context, t *testing.T, w *world) {
	w.broke.Store(true)
	defer w.broke.Store(false)
	w.request(testRequest{Kind: "kolors-virtual-try-on", ID: "tried-on", Body: []byte(`{"human_image":"https://a.example/1","cloth_image":"https://a.example/2"}`)})
	p := openTab(b, t, w.console()+"#/dead")
	p.shows("Pool try-on is paused:")
	p.until("the next probe is told", "/probe/.test(document.querySelector('#banner').innerText)")
	p.do(chromedp.Navigate(w.console() + "#/"))
	p.until("it is told once", "document.querySelectorAll('.pool').length === 3 && document.querySelectorAll('#banner p').length === 1 && "+
		"!document.querySelector('.trouble')")
	w.broke.Store(false)
	w.await("tried-on")
	p.until("the banner goes", "document.querySelector('#banner').innerText === ''")
}

// readTimes shows times in another zone, or as they pass, also after a reload.
func readTimes(b context.Context, t *testing.T, w *world) {
	msg := w.message("traced", "a lighthouse")
	msg.Header.Set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if _, err := w.js.PublishMsg(w.ctx, msg); err != nil {
		t.Fatal(err)
	}
	w.await("traced")
	p := openTab(b, t, w.console()+"#/task/traced")
	p.shows("From request")
	if link := eval[string](p, "document.querySelector('a.trace').href"); link != "https://traces.example/0af7651916cd43dd8448eb211c80319c" {
		t.Errorf("the trace is at %s", link)
	}
	eval[bool](p, "(() => { navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }; return true; })()")
	p.do(chromedp.Click(chromedp.CSS(".title .copy")))
	p.until("the id is copied", "window.copied === 'traced'")
	for _, way := range []struct{ value, shows string }{{"utc", "UTC"}, {"relative", "ago"}, {"local", ":"}} {
		eval[bool](p, "(() => { const s = document.querySelector('#times select'); s.value = "+quote(way.value)+"; return s.dispatchEvent(new Event('change')); })()")
		shown := "document.querySelector('.timeline time')?.textContent.includes(" + quote(way.shows) + ")"
		p.until("times are "+way.value, shown)
		p.do(chromedp.Reload())
		p.until("times are "+way.value+" still", shown)
	}
}

// askAnew makes a request of a sample.
func askAnew(b context.Context, t *testing.T, w *world) {
	p := openTab(b, t, w.console()+"#/new?kind=text-to-video")
	p.until("there is a sample", "document.querySelector('#new-body')?.value.includes('kling-3.0-turbo')")
	p.until("it can't be sent unasked", "document.querySelector('.primary').textContent === 'Send'")
	p.do(chromedp.SendKeys(chromedp.CSS("#new-id"), "by-form"), chromedp.SendKeys(chromedp.CSS("#new-meta"), "Tenant:acme"))
	send := func() { p.do(chromedp.Click(chromedp.CSS(".primary")), chromedp.Click(chromedp.CSS(".primary.sure"))) }
	send()
	p.shows("Sent as by-form")
	if ev := w.await("by-form"); ev.Kind != "text-to-video" || ev.Metadata["Tenant"] != "acme" {
		t.Errorf("it is of kind %s, with %v", ev.Kind, ev.Metadata)
	}
	send()
	p.shows("there is a request")
	eval[bool](p, "(() => { document.querySelector('#new-id').value = ''; document.querySelector('#new-body').value = '[1]'; return true; })()")
	send()
	p.shows("want a JSON object")
	if task, err := w.client.Task(w.ctx, "by-form"); err != nil || !strings.Contains(task.Body, "kling-3.0-turbo") {
		t.Errorf("asked for %s, %v", task.Body, err)
	}
}
