package bridge_test

import (
	"context"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

// seeVariants finds the other files of a result beside those that are shown: with a watermark, and as WAV.
func seeVariants(b context.Context, t *testing.T, w *world) {
	w.request(testRequest{Kind: "text2video", ID: "watermarked", Body: body(map[string]any{
		"prompt": "a lighthouse", "watermark_info": map[string]any{"enabled": true},
	})})
	w.request(testRequest{Kind: "text-to-audio", ID: "heard", Body: body(map[string]any{"prompt": "waves", "duration": 5})})
	video, audio := w.await("watermarked").Result.Videos[0], w.await("heard").Result.Audios[0]
	link := func(p *tab, name string) string {
		return eval[string](p, "[...document.querySelectorAll('.results figcaption a')].find((a) => a.textContent === "+quote(name)+")?.href ?? ''")
	}
	p := openTab(b, t, w.console()+"#/task/watermarked")
	p.until("the video is shown", "document.querySelector('.results video')?.src === "+quote(video.URL))
	if got := link(p, "with watermark"); got != video.WatermarkURL || got == "" || got == video.URL {
		t.Errorf("the link with a watermark leads to %q, want %q", got, video.WatermarkURL)
	}
	p.do(chromedp.Navigate(w.console() + "#/task/heard"))
	p.until("the sound is shown", "document.querySelector('.results audio')?.src === "+quote(audio.URLMP3))
	if got := link(p, "WAV"); got != audio.URLWAV || got == "" || got == audio.URLMP3 {
		t.Errorf("the link to the WAV leads to %q, want %q", got, audio.URLWAV)
	}
	if got := link(p, "open"); got != audio.URLMP3 {
		t.Errorf("the sound's own link leads to %q, want %q", got, audio.URLMP3)
	}
	p.do(chromedp.Navigate(w.console() + "#/tasks"))
	p.until("the list is there", "document.querySelector('.list tbody tr') !== null")
	if eval[bool](p, accountShown) {
		t.Error("there is a column for the only account")
	}
}

// accountShown reports whether the list of requests has its column of accounts.
const accountShown = "getComputedStyle(document.querySelector('.list th.account')).display !== 'none'"

// TestConsoleTellsAccounts lists requests of two accounts with one slot each. One that waits for any of them has none yet.
func TestConsoleTellsAccounts(t *testing.T) {
	t.Parallel()
	endless := klingtest.Options{Duration: time.Hour}
	main, burst := openAccount(t, "main", 1, endless), openAccount(t, "burst", 1, endless)
	w := start(t, setup{bridge: on(t, main, burst)})
	for _, name := range []string{"main", "burst"} {
		w.submitTo(name, "of-"+name)
		w.untilStatus("of-"+name, events.StatusSubmitted)
	}
	w.submitTo("", "of-any")
	accountOf := func(id, name string) string {
		return "[...document.querySelectorAll('.list tbody tr')].some((row) => row.querySelector('th a')?.textContent === " + quote(id) +
			" && row.querySelector('[data-label=Account]').textContent === " + quote(name) + ")"
	}
	p := openTab(browser(t), t, w.console()+"#/tasks")
	p.until("the list is there", "document.querySelectorAll('.list tbody tr').length === 3")
	p.until("the column is shown", accountShown)
	p.until("the connection is live", "document.getElementById('link').textContent === 'live'")
	for id, name := range map[string]string{"of-main": "main", "of-burst": "burst", "of-any": "–"} {
		p.until(id+" is told to be of "+name, accountOf(id, name))
	}
	if err := burst.Finish(burst.Tasks()[0].ID); err != nil {
		t.Fatal(err)
	}
	w.untilStatus("of-any", events.StatusSubmitted)
	p.until("the one that waited is told to be of burst", accountOf("of-any", "burst"))
	p.do(chromedp.Navigate(w.console() + "#/task/of-burst"))
	p.until("its page tells it, too", "[...document.querySelectorAll('.facts dt')].some((term) => "+
		"term.textContent === 'Account' && term.nextElementSibling.textContent === 'burst')")
}
