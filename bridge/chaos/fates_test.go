package chaos_test

import (
	"net/http"
	"strings"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
)

// fate is what befalls a request at Kling. It is the end of its prompt, where the simulated Kling reads it: a prompt with
// "[policy]" is refused and one with "fail:" fails without our doing.
type fate string

// The fates that have a name here. The others are the effects that the simulated Kling knows.
const (
	fatePlain     fate = "plain"
	fateRefused   fate = "[policy]"
	fateFails     fate = "fail: out of luck"
	fateSlow      fate = "slow"      // the task is stored after the client has given up
	fateLost      fate = "lost"      // no callback comes
	fateRepeated  fate = "repeated"  // each callback comes three times
	fateLate      fate = "late"      // the end is called back after polling has found it
	fateEarly     fate = "early"     // the end is called back before the create call is answered
	fateReordered fate = "reordered" // processing is called back after the end
	fateThin      fate = "thin"      // the callback of the end has no results
	fateEmpty     fate = "empty"     // callbacks say nothing
	fateTooFast        = fate(klingtest.TooFast1302)
	fateNoTask         = fate(klingtest.Error500NoTask)
)

const (
	klingTimeout = 2 * time.Second
	slowness     = 2500 * time.Millisecond // of fateSlow
	lateness     = 3 * time.Second         // of fateLate
)

// fates are those of every world. Earlier versions of the program know how to live with them.
func fates() []fate {
	all := []fate{
		fatePlain, fatePlain, fatePlain, fateRefused, fateFails, fateSlow, fateLost, fateRepeated, fateLate, fateEarly,
		fateReordered,
	}
	for _, e := range []klingtest.Effect{
		klingtest.ResetAfterStore, klingtest.Gateway504AfterStore, klingtest.TruncateAfterStore, klingtest.HangAfterStore,
		klingtest.Error500AfterStore, klingtest.ResetBeforeStore, klingtest.Error500NoTask, klingtest.Error503NoTask,
		klingtest.HTML502NoTask, klingtest.TooFast1302, klingtest.TooFastNoCode429,
	} {
		all = append(all, fate(e))
	}
	return all
}

// The fates of requests whose first create call is not answered by Kling.
const (
	fateRefusedByPage fate = "refused by a page"
	fateNoQuota       fate = "no quota"
	fatePage          fate = "answered by a page"
	fateRelayed       fate = "stored, and answered by another vendor"
	fatePageBefore    fate = "stored, and answered by a page"
	fateRefusedLate   fate = "stored, and refused by a page; no callback comes"
)

// What was seen of something that answers in Kling's place (public reports, 2026), refusing or not.
var (
	refusingPage = klingtest.Page{HTTPStatus: http.StatusForbidden, Title: "Attention Required!"}
	challenge    = klingtest.Page{HTTPStatus: http.StatusOK, Title: "Just a moment..."}
	quota        = klingtest.Raw{HTTPStatus: http.StatusForbidden, Body: `{"error":"insufficient_user_quota"}`}
	otherVendor  = klingtest.Raw{Body: `{"id":"video_1","object":"video","status":"queued"}`}
)

// pages is what stands before Kling, by fate.
func pages() map[fate]klingtest.Fault {
	pageBefore, refusedLate, relayed := challenge, refusingPage, otherVendor
	pageBefore.AfterStore, refusedLate.AfterStore, relayed.AfterStore = true, true, true
	return map[fate]klingtest.Fault{
		fateRefusedByPage: refusingPage, fateNoQuota: quota, fatePage: challenge, fatePageBefore: pageBefore,
		fateRelayed: relayed, fateRefusedLate: refusedLate,
	}
}

// recordedFates are what Kling, and what stands before it, was seen to do in 2026.
func recordedFates() []fate {
	return []fate{
		fateThin, fateThin, fateEmpty, fateRefusedByPage, fateNoQuota, fatePage, fatePageBefore, fateRelayed, fateRefusedLate,
		fate(klingtest.HTML404), fate(klingtest.ExistsAfterStore),
	}
}

// oddity is how likely a task object has a field of a type that it never has at Kling, where such things are played.
const oddity = 0.2

const fateMark = " | "

func prompt(id string, f fate) string { return id + fateMark + string(f) }

func (w *world) fateOf(t klingtest.TaskView) fate {
	_, f, _ := strings.Cut(t.Prompt, fateMark)
	return fate(f)
}

// idOf returns the id of the request that a task was made for.
func idOf(t klingtest.TaskView) string {
	id, _, _ := strings.Cut(t.Prompt, fateMark)
	return id
}

// createFault spoils the first create call of a request.
func (w *world) createFault(v klingtest.CreateView) klingtest.Fault {
	if v.Seen > 0 || w.calm.Load() {
		return nil
	}
	f := w.fateOf(v.TaskView)
	if page := pages()[f]; page != nil {
		return page
	}
	switch f {
	case fateSlow:
		return klingtest.Slow(slowness)
	case fatePlain, fateFails, fateLost, fateRepeated, fateLate, fateEarly, fateReordered, fateThin, fateEmpty, fateFailsOnce, fateFailsTwice:
		return nil
	default:
		return klingtest.Effect(f)
	}
}

// queryFault spoils one query in ten.
func (w *world) queryFault(klingtest.QueryView) klingtest.Fault {
	w.trap.pass(pointAsked)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.calm.Load() || w.dice.IntN(10) > 0 {
		return nil
	}
	faults := []klingtest.Fault{
		klingtest.Error500NoTask, klingtest.HTML502NoTask, klingtest.TooFast1302, klingtest.ResetBeforeStore,
	}
	if w.recorded {
		faults = append(faults, klingtest.HTML404, refusingPage, challenge, quota, otherVendor)
	}
	return faults[w.dice.IntN(len(faults))]
}

func (w *world) callbackFault(v klingtest.CallbackView) klingtest.CallbackFault {
	if w.calm.Load() {
		return klingtest.CallbackFault{}
	}
	switch f := w.fateOf(v.TaskView); {
	case f == fateLost, f == fateRefusedLate:
		return klingtest.CallbackFault{Lose: true}
	case f == fateRepeated:
		return klingtest.CallbackFault{Repeat: 2}
	case f == fateLate && v.Ended():
		return klingtest.CallbackFault{Delay: lateness}
	case f == fateEarly && v.Status == klingtest.StatusSubmitted:
		return klingtest.CallbackFault{Early: true}
	case f == fateReordered && !v.Ended():
		return klingtest.CallbackFault{Reorder: true}
	case f == fateThin:
		return klingtest.CallbackFault{Thin: true}
	case f == fateEmpty:
		return klingtest.CallbackFault{Body: `{}`}
	default:
		return klingtest.CallbackFault{}
	}
}
