package klingtest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
)

func TestLifecycleV1(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := &receiver{}
		sim := newAPI(t, klingtest.Options{CallbackHTTP: calls.client()})
		created := sim.post(textToVideo, `{"prompt":"a boat","duration":"10",
			"external_task_id":"job-1","callback_url":"`+callbackURL+`"}`)
		object := decode(t, created.Data)
		id := object["task_id"].(string)
		now := json.Number(strconv.FormatInt(time.Now().UnixMilli(), 10))
		want := map[string]any{
			"task_id": id, "task_status": "submitted", "task_info": map[string]any{"external_task_id": "job-1"},
			"created_at": now, "updated_at": now,
		}
		if diff := cmp.Diff(want, object); diff != "" || created.Message != "SUCCEED" {
			t.Errorf("create answered %q (-want +got):\n%s", created.Message, diff)
		}
		path := textToVideo + "/" + id
		if got := decode(t, sim.get(path).Data)["task_status"]; got != "submitted" {
			t.Errorf("at once: %v, want submitted", got)
		}

		time.Sleep(9 * time.Second)
		synctest.Wait()
		want["task_status"], want["task_status_msg"], want["task_result"] = "processing", "", map[string]any{}
		want["updated_at"] = json.Number(strconv.FormatInt(time.Now().UnixMilli(), 10))
		if diff := cmp.Diff(want, decode(t, sim.get(path).Data)); diff != "" {
			t.Errorf("after 9 s (-want +got):\n%s", diff)
		}

		time.Sleep(221*time.Second - time.Millisecond)
		synctest.Wait()
		if got := calls.statuses(); !slices.Equal(got, []string{"processing"}) {
			t.Errorf("just before 230 s: callbacks %v", got)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		ended := decode(t, sim.get(textToVideo+"/job-1").Data)
		if ended["task_status"] != "succeed" || ended["final_unit_deduction"] != "6" {
			t.Errorf("after 230 s: %v", ended)
		}
		video := ended["task_result"].(map[string]any)["videos"].([]any)[0].(map[string]any)
		if video["duration"] != "10.1" || !strings.HasPrefix(video["url"].(string), "http://example.com/files/") {
			t.Errorf("video %v", video)
		}
		if got := calls.statuses(); !slices.Equal(got, []string{"processing", "succeed"}) {
			t.Fatalf("callbacks %v", got)
		}
		want = map[string]any{
			"task_id": id, "task_status": "succeed", "task_status_msg": "",
			"task_info":   map[string]any{"external_task_id": "job-1"},
			"task_result": map[string]any{"images": []any{}, "audios": []any{}, "videos": []any{video}},
			"created_at":  now, "updated_at": json.Number(strconv.FormatInt(time.Now().UnixMilli(), 10)),
			"final_unit_deduction":    "6",
			"final_balance_deduction": map[string]any{"quota": "0", "list_price": "0"},
		}
		if diff := cmp.Diff(want, decode(t, calls.received()[1].body)); diff != "" {
			t.Errorf("callback of the end (-want +got):\n%s", diff)
		}
	})
}

func TestLifecycleV2(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := &receiver{}
		sim := newAPI(t, klingtest.Options{CallbackHTTP: calls.client(), PublicURL: "https://cdn.test/"})
		id := sim.create(v2Video, `{"prompt":"a boat","settings":{"resolution":"1080p","duration":5},
			"options":{"external_task_id":"job-1","callback_url":"`+callbackURL+`"}}`)
		created := json.Number(strconv.FormatInt(time.Now().UnixMilli(), 10))
		time.Sleep(230 * time.Second)
		synctest.Wait()
		got := decode(t, calls.received()[1].body)
		output := got["outputs"].([]any)[0].(map[string]any)
		want := map[string]any{
			"id": id, "status": "succeeded", "message": "", "external_id": "job-1",
			"create_time": created, "update_time": json.Number(strconv.FormatInt(time.Now().UnixMilli(), 10)),
			"outputs": []any{map[string]any{"type": "video", "id": output["id"], "url": output["url"], "duration": "5.041"}},
			"billing": []any{map[string]any{"charge_type": "unit", "amount": "4", "package_type": "video"}},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("callback (-want +got):\n%s", diff)
		}
		if url := output["url"].(string); !strings.HasPrefix(url, "https://cdn.test/files/") {
			t.Errorf("result at %s, want it at the public URL", url)
		}
		var queried []json.RawMessage
		if err := json.Unmarshal(sim.get("/tasks?task_ids="+id).Data, &queried); err != nil || len(queried) != 1 {
			t.Fatalf("%d tasks, %v", len(queried), err)
		}
		if diff := cmp.Diff(want, decode(t, queried[0])); diff != "" {
			t.Errorf("query (-want +got):\n%s", diff)
		}
	})
}

// TestEveryKind creates a task of each kind with the least body it takes, and looks at what it makes.
func TestEveryKind(t *testing.T) {
	t.Parallel()
	kinds := []struct{ name, body, made string }{
		{"text2video", `{"prompt":"p"}`, "videos:1"},
		{"image2video", `{"image":"https://x.test/a.png"}`, "videos:1"},
		{"video-extend", `{"video_id":"871000000000000777"}`, "videos:1"},
		{"lip-sync", `{"input":{"mode":"text2video","video_id":"1","text":"hi","voice_id":"v"}}`, "videos:1"},
		{"effects", `{"effect_scene":"hug","input":{"images":["https://x.test/a.png","https://x.test/b.png"]}}`, "videos:1"},
		{"advanced-lip-sync", `{"session_id":"s","face_choose":[{"face_id":"0","audio_id":"a",
			"sound_start_time":0,"sound_end_time":2000,"sound_insert_time":0}]}`, "videos:1"},
		{"multi-image2video", `{}`, "videos:1"},
		{"multi-elements", `{"session_id":"s"}`, "videos:1"},
		{"omni-video-v1", `{"prompt":"p","mode":"pro"}`, "videos:1"},
		{"motion-control-v1", `{}`, "videos:1"},
		{"avatar", `{"image":"aGk=","audio_id":"a"}`, "videos:1"},
		{"text-to-audio", `{"prompt":"p","duration":3.5}`, "audios:1"},
		{"video-to-audio", `{"video_id":"1"}`, "audios:1 videos:1"},
		{"custom-voices", `{}`, "voices:1"},
		{"advanced-custom-elements", `{}`, "elements:1"},
		{"image-generations", `{"prompt":"p","n":3}`, "images:3"},
		{"omni-image", `{"prompt":"p","series_amount":2}`, "images:0 result_type series_images:2"},
		{"multi-image2image", `{"n":"2"}`, "images:2"},
		{"image-expand", `{"image":"aGk=","up_expansion_ratio":0.5}`, "images:1"},
		{"ai-multi-shot", `{}`, "images:1"},
		{"kolors-virtual-try-on", `{"human_image":"aGk="}`, "images:1"},
		{"text-to-video", `{"prompt":"p"}`, "video:1"},
		{"image-to-video", `{"contents":[{"type":"prompt","text":"p"}]}`, "video:1"},
		{"omni-video", `{"contents":[{"type":"image","url":"https://x.test/a.png"}]}`, "video:1"},
		{"motion-control", `{"contents":[{"type":"image","url":"https://x.test/a.png"}]}`, "video:1"},
		{"virtual-try-on", `{"contents":[{"type":"image","url":"https://x.test/a.png"}]}`, "image:1"},
		{"drama-subtitle", `{"contents":[{"type":"video","url":"https://x.test/a.mp4"}]}`, "subbed_video:1 srt:1 ass:1"},
		{"clothing-dupe", `{"contents":[{"type":"image","url":"https://x.test/a.png"}]}`,
			"product_image:1 model_images:1 model_images:1 product_video:1"},
	}
	table := kling.DefaultKinds()
	if len(kinds) != len(table.All()) {
		t.Fatalf("%d kinds tried of %d", len(kinds), len(table.All()))
	}
	for _, tt := range kinds {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			sim := newAPI(t, klingtest.Options{})
			k, _ := table.Lookup(tt.name)
			id := sim.create(k.CreatePath("kling-3.0"), tt.body)
			if err := sim.Finish(id); err != nil {
				t.Fatal(err)
			}
			if got := sim.made(k, id); got != tt.made {
				t.Errorf("made %q, want %q", got, tt.made)
			}
			if v := sim.Violations(); len(v) > 0 {
				t.Errorf("violations %q", v)
			}
		})
	}
}

// made sums up the results of a task, in the order of their names.
func (a api) made(k kling.Kind, id string) string {
	a.t.Helper()
	var parts []string
	if k.Generation != kling.V1 {
		path := map[kling.Generation]string{kling.V2: "/tasks", kling.Solutions: "/solutions"}[k.Generation]
		var tasks []struct {
			Outputs []struct{ Type string }
		}
		if err := json.Unmarshal(a.get(path+"?task_ids="+id).Data, &tasks); err != nil {
			a.t.Fatal(err)
		}
		for _, output := range tasks[0].Outputs {
			parts = append(parts, output.Type+":1")
		}
		return strings.Join(parts, " ")
	}
	for name, value := range decode(a.t, a.get(k.Path+"/"+id).Data)["task_result"].(map[string]any) {
		if list, ok := value.([]any); ok {
			name = fmt.Sprintf("%s:%d", name, len(list))
		}
		parts = append(parts, name)
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}

func TestMultiShotHasThreeURLs(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{})
	id := sim.create("/v1/general/ai-multi-shot", `{}`)
	finish(t, sim.Server, id)
	object := decode(t, sim.get("/v1/general/ai-multi-shot/"+id).Data)
	image := object["task_result"].(map[string]any)["images"].([]any)[0].(map[string]any)
	urls := map[any]bool{image["url_1"]: true, image["url_2"]: true, image["url_3"]: true}
	if len(urls) != 3 || urls[nil] || image["url"] != nil {
		t.Errorf("image %v, want url_1, url_2 and url_3", image)
	}
}

func TestWatermarkAndParentVideo(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{})
	const path = "/v1/videos/video-extend"
	id := sim.create(path, `{"video_id":"871000000000000777","watermark_info":{"enabled":true}}`)
	finish(t, sim.Server, id)
	object := decode(t, sim.get(path+"/"+id).Data)
	video := object["task_result"].(map[string]any)["videos"].([]any)[0].(map[string]any)
	parent, _ := object["task_info"].(map[string]any)["parent_video"].(map[string]any)
	if video["watermark_url"] == nil || parent["id"] != "871000000000000777" {
		t.Errorf("task %v, want a watermark_url and the parent video", object)
	}
}

func TestFailingTasks(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{})
	v1 := sim.create(textToVideo, `{"prompt":"a cat fail: Image pixel is invalid"}`)
	v2 := sim.create(v2Video, `{"prompt":"a cat","settings":{"resolution":"480p"}}`)
	finish(t, sim.Server, v1)
	finish(t, sim.Server, v2)

	got := sim.get(textToVideo + "/" + v1)
	object := decode(t, got.Data)
	if got.HTTPStatus != http.StatusOK || got.Message != "SUCCEED" || object["task_status"] != "failed" ||
		object["task_status_msg"] != "Image pixel is invalid" || object["final_unit_deduction"] != "0" {
		t.Errorf("failed v1 task: %d %s", got.HTTPStatus, got.Body)
	}
	if diff := cmp.Diff(map[string]any{}, object["task_result"]); diff != "" {
		t.Errorf("result of a failed task (-want +got):\n%s", diff)
	}
	for id, message := range map[string]string{v1: "Image pixel is invalid", v2: "video resolution value '480p' is invalid"} {
		got := sim.inNewShape("/tasks", id)
		// The billing has no charge_type (recorded 2026-09).
		if got["status"] != "failed" || got["message"] != message || fmt.Sprint(got["billing"]) != "[map[amount:0]]" {
			t.Errorf("failed task in the newer shape: %v", got)
		}
	}
}

func TestFailOption(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{Fail: func(v klingtest.TaskView) (string, bool) {
		return "No face detected", v.ExternalID == "unlucky"
	}})
	unlucky := sim.create(textToVideo, `{"prompt":"p","external_task_id":"unlucky"}`)
	lucky := sim.create(textToVideo, `{"prompt":"fail: not this one"}`)
	finish(t, sim.Server, unlucky)
	finish(t, sim.Server, lucky)
	first, _ := sim.Task(unlucky)
	second, _ := sim.Task(lucky)
	if first.Status != klingtest.StatusFailed || first.Message != "No face detected" ||
		second.Status != klingtest.StatusSucceed {
		t.Errorf("statuses %s %q, %s", first.Status, first.Message, second.Status)
	}
}

func TestDurations(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := newAPI(t, klingtest.Options{Speed: 10, DurationOf: func(v klingtest.TaskView) time.Duration {
			if v.Prompt == "long" {
				return time.Hour
			}
			return 10 * time.Second
		}})
		long := sim.create(textToVideo, `{"prompt":"long"}`)
		short := sim.create(textToVideo, `{"prompt":"short"}`)
		begun := time.Now()
		time.Sleep(7 * time.Minute)
		synctest.Wait()
		for id, want := range map[string]time.Duration{long: 6 * time.Minute, short: time.Second} {
			if v, _ := sim.Task(id); v.EndedAt.Sub(begun) != want {
				t.Errorf("%s task took %s, want %s", v.Prompt, v.EndedAt.Sub(begun), want)
			}
		}
	})
}

func TestFinish(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{})
	id := sim.create(textToVideo, `{"prompt":"p","external_task_id":"job-1"}`)
	finish(t, sim.Server, "job-1")
	first, _ := sim.Task(id)
	finish(t, sim.Server, id)
	if again, _ := sim.Task(id); !first.Ended() || again.EndedAt != first.EndedAt {
		t.Errorf("ended at %s, then at %s", first.EndedAt, again.EndedAt)
	}
	if err := sim.Finish("nobody"); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("finishing an unknown task: %v", err)
	}
}

func finish(t testing.TB, sim *klingtest.Server, id string) {
	t.Helper()
	if err := sim.Finish(id); err != nil {
		t.Fatal(err)
	}
}

func TestTaskIDsAfterARestart(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	firstID := func(seed uint64, now time.Time) int64 {
		sim := newAPI(t, klingtest.Options{Seed: seed, Now: func() time.Time { return now }})
		id := sim.create(textToVideo, `{"prompt":"p"}`)
		n, err := strconv.ParseInt(id, 10, 64)
		if err != nil || len(id) != 18 || n <= 1<<53 {
			t.Errorf("id %s, want 18 digits beyond 2^53", id)
		}
		return n
	}
	if before, after := firstID(0, began), firstID(0, began.Add(time.Second)); after-before < 1e6 {
		t.Errorf("ids %d, then %d: the second run would soon repeat the first one's", before, after)
	}
	if before, after := firstID(7, began), firstID(7, began.Add(time.Second)); before != after {
		t.Errorf("ids %d and %d with the same seed", before, after)
	}
}
