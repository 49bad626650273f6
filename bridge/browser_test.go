package bridge_test

import (
	"context"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser returns a context with a real browser, without a window and with a profile of its own, until the test ends.
func browser(t *testing.T) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Fatal("install chromium: the console is tested in a real browser")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, _ := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Errorf("close the browser: %v", err)
		}
		stop()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return ctx
}

// tab is one page in a browser.
type tab struct {
	t   *testing.T
	ctx context.Context
}

// openTab shows a page in a tab of its own, 1280 pixels wide. What goes wrong in it fails the test.
func openTab(browser context.Context, t *testing.T, url string) *tab {
	t.Helper()
	ctx, _ := chromedp.NewContext(browser)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Errorf("close the tab: %v", err)
		}
	})
	p := &tab{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, p.complain); err != nil {
		t.Fatal(err)
	}
	p.do(chromedp.EmulateViewport(1280, 900), chromedp.Navigate(url))
	return p
}

// complain fails the test for what the page's console shows: errors, and what the content security policy has stopped.
func (p *tab) complain(ev any) {
	switch ev := ev.(type) {
	case *runtime.EventExceptionThrown:
		p.t.Errorf("the page throws: %+v", ev.ExceptionDetails)
	case *log.EventEntryAdded:
		if ev.Entry.Level == "error" && ev.Entry.Source != "network" { // of which 401 and 403 are, too
			p.t.Errorf("the page's console says: %s", ev.Entry.Text)
		}
	}
}

func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.t.Fatal(err)
	}
}

// eval returns the value of a JavaScript expression.
func eval[T any](p *tab, expression string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return value
}

// until waits for a JavaScript expression to be true.
func (p *tab) until(what, expression string) {
	p.t.Helper()
	(&world{t: p.t}).eventually(what, func() bool { return eval[bool](p, "Boolean("+expression+")") })
}

// shows waits for a text in the page, in large or small letters.
func (p *tab) shows(text string) {
	p.t.Helper()
	p.until("the page shows "+text, "document.body.innerText.toLowerCase().includes("+quote(strings.ToLower(text))+")")
}

// press presses a key that has a character, as a keyboard does: the page may keep the character from being typed.
func (p *tab) press(key string) {
	p.t.Helper()
	for _, event := range []input.DispatchKeyEventParams{
		{Type: input.DispatchKeyEventTypeKeyDown, Key: key, Text: key},
		{Type: input.DispatchKeyEventTypeKeyUp, Key: key},
	} {
		if _, err := chromedp.Call(p.ctx, input.DispatchKeyEvent, event); err != nil {
			p.t.Fatal(err)
		}
	}
}

// colors lets the page believe that its reader prefers a colour scheme.
func (p *tab) colors(scheme string) {
	p.t.Helper()
	_, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}
