package klingtest_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
)

// TestCapacityByModel: Kling's newest text counts by account, model version and pack type.
func TestCapacityByModel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := newAPI(t, klingtest.Options{
			Slots: map[kling.Pool]int{kling.PoolVideo: 1}, SlotsByModel: map[string]int{"kling-3.0": 2, "kling-v3": 0},
			SubmittedFor: time.Second, Duration: time.Minute,
		})
		const v1 = `{"prompt":"p","model_name":"kling-v2-6"}`
		sim.create(v2Video, `{"prompt":"p"}`)
		sim.create("/image-to-video/kling-3.0", `{"contents":[{"type":"prompt"}]}`)
		sim.refused(v2Video, `{"prompt":"p"}`, http.StatusTooManyRequests, 1303)
		sim.create(textToVideo, v1)
		sim.refused(imageToVideo, `{"image":"aGk=","model_name":"kling-v2-6"}`, http.StatusTooManyRequests, 1303)
		sim.create(textToVideo, `{"prompt":"p"}`)
		sim.refused(textToVideo, `{"prompt":"p","model_name":"kling-v3"}`, http.StatusTooManyRequests, 1303)
		if model := sim.Tasks()[2].Model; model != "kling-v2-6" {
			t.Errorf("model %q of an older task", model)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		sim.create(textToVideo, v1)
		all, one := sim.BusySlotTime(kling.PoolVideo), sim.BusySlotTimeOf(kling.PoolVideo, "kling-3.0")
		if all != 4*time.Minute || one != 2*time.Minute {
			t.Errorf("slots were busy for %s, those of kling-3.0 for %s; want 4m and 2m", all, one)
		}
	})
}

// TestCapacityByPool: models of a pool share its slots by default.
func TestCapacityByPool(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{Slots: map[kling.Pool]int{kling.PoolVideo: 1}})
	sim.create(textToVideo, `{"prompt":"p","model_name":"kling-v3"}`)
	sim.refused(textToVideo, `{"prompt":"p","model_name":"kling-v2-6"}`, http.StatusTooManyRequests, 1303)
	sim.refused(v2Video, `{"prompt":"p"}`, http.StatusTooManyRequests, 1303)
	sim.create(tryOn, `{"contents":[{"type":"image"}]}`)
}

// TestRetiredModels: what a live probe found discontinued (2026-09), and the documented default among it.
func TestRetiredModels(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{RetiredModels: true})
	for body, want := range map[string]string{
		`{"prompt":"p"}`:                                "model_name value 'kling-v1' is invalid",
		`{"prompt":"p","model_name":""}`:                "model_name value 'kling-v1' is invalid",
		`{"prompt":"p","model":"kling-v3"}`:             "model_name value 'kling-v1' is invalid", // the old name is ignored
		`{"prompt":"p","model_name":"kling-v2-master"}`: "model_name value 'kling-v2-master' is invalid",
		`{"prompt":"p","model_name":"kling-v3"}`:        "SUCCEED",
	} {
		if got := sim.post(textToVideo, body); got.Message != want {
			t.Errorf("%s: %q, want %q", body, got.Message, want)
		}
	}
	sim.create("/v1/videos/omni-video", `{"prompt":"p"}`)
}
