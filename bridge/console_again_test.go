package bridge_test

import (
	"context"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/klingbridge/klingbridge/events"
)

// sendAgain sees what was asked for, sends it again as it was, and again with another prompt.
func sendAgain(b context.Context, t *testing.T, w *world) {
	const asked = `{"prompt":"a tower","image":"https://127.0.0.1:1/first.jpg","cfg_scale":0.50}`
	w.request(testRequest{Kind: "image2video", ID: "asked", Body: []byte(asked)})
	ev := w.await("asked")
	p := openTab(b, t, w.console()+"#/tasks")
	p.until("the list has the prompt", "[...document.querySelectorAll('.list tr')].some((row) => row.innerText.includes('asked') && row.innerText.includes('a tower'))")
	p.do(chromedp.Navigate(w.console() + "#/task/asked"))
	p.shows("a tower")
	if input := eval[string](p, "document.querySelector('.inputs a').href"); input != "https://127.0.0.1:1/first.jpg" {
		t.Errorf("the input is %s", input)
	}
	p.shows(`"cfg_scale": 0.50`)
	p.do(chromedp.Click(chromedp.CSS(".again")))
	p.shows("the last one took " + ev.Units + " units")
	p.do(chromedp.Click(chromedp.CSS(".again")))
	p.shows("Sent again as asked-r1")
	w.sameAsked("asked-r1", "asked", asked)

	p.do(chromedp.Click(chromedp.CSS(".edit")))
	eval[bool](p, "(() => { const t = document.querySelector('#edited'); t.value = t.value.replace('a tower', 'two towers'); return true; })()")
	p.do(chromedp.Click(chromedp.CSS(".editor .primary")), chromedp.Click(chromedp.CSS(".editor .primary.sure")))
	p.shows("Sent again as asked-r2")
	w.sameAsked("asked-r2", "asked", strings.Replace(asked, "a tower", "two towers", 1))
}

// sameAsked checks what a request asked for, and what it repeats.
func (w *world) sameAsked(id, replayOf, body string) {
	w.t.Helper()
	w.await(id)
	if task := w.untilStatus(id, events.StatusSucceed); task.Body != body || task.ReplayOf != replayOf {
		w.t.Errorf("%s repeats %q and asks for %s, want %s", id, task.ReplayOf, task.Body, body)
	}
}
