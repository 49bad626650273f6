package kling_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

// TestOddFieldsCountAsAbsent has the shapes that proxies were seen to make (recorded 2026-09), and others of their kind.
func TestOddFieldsCountAsAbsent(t *testing.T) {
	t.Parallel()
	video := []kling.Video{{ID: "9", URL: "https://h/a.mp4", Duration: "5.1"}}
	const videos = `"task_result":{"videos":[{"id":"9","url":"https://h/a.mp4","duration":"5.1"}]}`
	for body, want := range map[string]kling.Task{
		`"task_info":[],` + videos:                                        {Videos: video, Odd: []string{"task_info"}},
		`"task_info":"",` + videos:                                        {Videos: video, Odd: []string{"task_info"}},
		`"task_info":[],"external_id":"a",` + videos:                      {Videos: video, ExternalID: "a", Odd: []string{"task_info"}},
		`"Task_Info":7,"TASK_STATUS_MSG":[],` + videos:                    {Videos: video, Odd: []string{"task_info", "task_status_msg"}},
		`"final_unit_deduction":false,` + videos:                          {Videos: video, Odd: []string{"final_unit_deduction"}},
		`"task_status_msg":{"code":0},"created_at":[],` + videos:          {Videos: video, Odd: []string{"task_status_msg", "created_at"}},
		`"watermark_info":[],"final_balance_deduction":"",` + videos:      {Videos: video},
		`"outputs":{},"billing":"",` + videos:                             {Videos: video, Odd: []string{"outputs", "billing"}},
		`"task_result":[]`:                                                {Odd: []string{"task_result"}},
		`"task_result":{"images":{},"videos":"none","audios":true}`:       {Odd: []string{"task_result.images", "task_result.videos", "task_result.audios"}},
		`"task_result":[],"outputs":[{"type":"video","url":"u"}]`:         {Videos: []kling.Video{{URL: "u"}}, Odd: []string{"task_result"}},
		`"outputs":[{"type":"video","url":"u","watermark_url":[]}]`:       {Videos: []kling.Video{{URL: "u"}}, Odd: []string{"outputs.watermark_url"}},
		`"outputs":[7,[],{"type":"srt","url":"u"},null]`:                  {Files: []kling.File{{Type: "srt", URL: "u"}}, Odd: []string{"outputs"}},
		`"outputs":[{"type":"model_images","url":["a",{},null,"b"]}]`:     {Images: []kling.Image{{URL: "a"}, {Index: 1, URL: "b"}}, Odd: []string{"outputs.url"}},
		`"outputs":[{"type":[],"id":"1","url":"u","watermark_url":"w"}]`:  {Files: []kling.File{{URL: "u"}, {URL: "w"}}, Odd: []string{"outputs.type"}},
		`"outputs":[{"type":[],"mp3_url":"u"}]`:                           {Audios: []kling.Audio{{URLMP3: "u"}}, Odd: []string{"outputs.type"}},
		`"task_result":{"videos":[{"id":"9","url":{}},{"url":7},{}]}`:     {Videos: []kling.Video{{ID: "9"}}, Odd: []string{"task_result.videos.url"}},
		`"task_result":{"videos":[{"url":"u","duration":[]},"v"]}`:        {Videos: []kling.Video{{URL: "u"}}, Odd: []string{"task_result.videos.duration", "task_result.videos"}},
		`"task_result":{"images":[{"url_1":{},"url_2":"b"}]}`:             {Images: []kling.Image{{URL: "b"}}, Odd: []string{"task_result.images.url_1"}},
		`"task_result":{"images":[{"url":false,"watermark_url":"w"}]}`:    {Images: []kling.Image{{WatermarkURL: "w"}}, Odd: []string{"task_result.images.url"}},
		`"task_result":{"voices":{"voice_id":"1"},"elements":[{}, true]}`: {Odd: []string{"task_result.voices", "task_result.elements"}},
		`"billing":[{"charge_type":"unit","amount":{}}]`:                  {Odd: []string{"billing.amount"}},
	} {
		want.ID, want.Status = "871", kling.StatusSucceed
		object := `{"task_id":"871",` + body + `,"task_status":"succeed"}`
		for _, body := range []string{object, `{"code":0,"message":[],"data":` + object + `}`} {
			got, err := kling.DecodeCallback([]byte(body))
			if err != nil {
				t.Errorf("%s: %v", body, err)
				continue
			}
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(kling.Task{}, "Raw")); diff != "" || string(got.Raw) != object {
				t.Errorf("%s: Raw %s, task (-want +got):\n%s", body, got.Raw, diff)
			}
		}
	}
}

// TestOddFieldsInAnswers has every call that reads tasks meet them.
func TestOddFieldsInAnswers(t *testing.T) {
	t.Parallel()
	const object = `{"task_id":"871","task_status":"succeed","task_info":[],"task_result":{"videos":[{"url":"u","duration":[]}]}}`
	want := kling.Task{
		ID: "871", Status: kling.StatusSucceed, Videos: []kling.Video{{URL: "u"}},
		Odd: []string{"task_info", "task_result.videos.duration"},
	}
	ctx, k := t.Context(), kind(t, "text2video")
	one := newClient(t, respond(200, "\uFEFF"+`{"code":0,"message":{},"request_id":[],"data":`+object+`}`))
	many := newClient(t, respond(200, `{"code":0,"data":[{"task_id":[]},`+object+`]}`))
	first := func(tasks []kling.Task, err error) (kling.Task, error) {
		if len(tasks) != 1 {
			return kling.Task{}, fmt.Errorf("%d tasks: %w", len(tasks), err)
		}
		return tasks[0], err
	}
	for name, call := range map[string]func() (kling.Task, error){
		"create":         func() (kling.Task, error) { return one.Create(ctx, k, "", []byte(`{}`)) },
		"query":          func() (kling.Task, error) { return one.Query(ctx, k, "871") },
		"query external": func() (kling.Task, error) { return one.QueryExternal(ctx, k, "a") },
		"query tasks":    func() (kling.Task, error) { return first(many.QueryTasks(ctx, kling.V2, []string{"871"})) },
		"list":           func() (kling.Task, error) { return first(many.List(ctx, k, 1, 500)) },
	} {
		got, err := call()
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(kling.Task{}, "Raw")); diff != "" || err != nil {
			t.Errorf("%s: %v, task (-want +got):\n%s", name, err, diff)
		}
	}
}

func TestHasResult(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]bool{
		// Thin successes (recorded 2026-09).
		`{"task_id":"1","task_status":"succeed"}`:                                                               false,
		`{"task_status":"succeed","task_result":{}}`:                                                            false,
		`{"task_status":"succeed","task_result":null}`:                                                          false,
		`{"task_status":"succeed","task_result":{"images":[],"videos":null,"audios":[]}}`:                       false,
		`{"task_status":"succeed","task_result":{"videos":[{"id":"9","url":"","duration":"5"}]}}`:               false,
		`{"code":"success","message":"","data":{"status":"succeeded","task_id":"871","url":"https://h/a.mp4"}}`: false,
		// And others.
		`{"task_result":{"images":[{"index":0},{"url":""}],"audios":[{"duration":"5"}],"voices":[{}]}}`: false,
		`{"outputs":[{"type":"video","id":"9"},{"type":"srt"},{"type":"model_images","url":[]}]}`:       false,
		`{"outputs":[{"type":"srt","url":"u"}]}`:                                                        true,
		`{"outputs":[{"type":"element","id":"1"}]}`:                                                     true,
		`{"task_result":{"voices":[{"voice_id":"1"}]}}`:                                                 true,
		`{"task_result":{"elements":[{"element_id":829000000000000001}]}}`:                              true,
		`{"task_result":{"images":[{"url_1":"u"}]}}`:                                                    true,
		`{"task_result":{"audios":[{"url_wav":"u"}]}}`:                                                  true,
	} {
		if task, err := kling.DecodeCallback([]byte(body)); err != nil || task.HasResult() != want {
			t.Errorf("%s: %t, %v", body, task.HasResult(), err)
		}
	}
}

// recordedBodies are the callbacks and the tasks of the answers in testdata.
func recordedBodies(t testing.TB) [][]byte {
	bodies := [][]byte{[]byte(`{"id":"2","status":"failed","message":"video resolution value '480p' is invalid","billing":[{"amount":"0"}]}`)}
	for _, name := range slices.Sorted(maps.Keys(decoded())) {
		bodies = append(bodies, golden(t, name))
	}
	for _, name := range []string{"create_accepted", "query_failed", "query_finished", "query_running"} {
		bodies = append(bodies, golden(t, name))
	}
	var answer struct{ Data []json.RawMessage }
	decodeInto(t, golden(t, "query_tasks"), &answer)
	for _, task := range answer.Data {
		bodies = append(bodies, task)
	}
	return bodies
}

// jsonTypes has a value of each type, and some that are deeper.
var jsonTypes = []string{
	`null`, `true`, `false`, `7`, `-1.5e300`, `""`, `"x"`, `[]`, `["x"]`, `[[7]]`, `[{}]`, `{}`, `{"x":{"y":[null]}}`, `[{"id":[],"url":{}}]`,
}

// TestOneOddFieldCostsThatField replaces each optional field of each recorded body by each JSON type.
func TestOneOddFieldCostsThatField(t *testing.T) {
	t.Parallel()
	for _, body := range recordedBodies(t) {
		for _, path := range optionalFields(t, body) {
			for _, value := range jsonTypes {
				oneOddField(t, body, path, []byte(value))
			}
		}
	}
}

func FuzzOneOddField(f *testing.F) {
	bodies := recordedBodies(f)
	for i := range bodies {
		for field := range optionalFields(f, bodies[i]) {
			f.Add(uint8(i), uint16(field), []byte(jsonTypes[(i+field)%len(jsonTypes)]))
		}
	}
	f.Fuzz(func(t *testing.T, i uint8, field uint16, value []byte) {
		if !json.Valid(value) || bytes.ContainsRune(value, '\uFFFD') {
			return
		}
		body := bodies[int(i)%len(bodies)]
		paths := optionalFields(t, body)
		path := paths[int(field)%len(paths)]
		if len(path) > 0 && path[len(path)-1] == "task_info" && value[0] != '[' && namesExternalID(t, value) {
			return // another id is no odd field
		}
		oneOddField(t, body, path, value)
	})
}

func namesExternalID(t testing.TB, value []byte) bool {
	var members any
	decodeInto(t, value, &members)
	object, _ := members.(map[string]any)
	for name := range object {
		if strings.EqualFold(name, "external_task_id") {
			return true
		}
	}
	return false
}

// optionalFields lists the paths of all fields and list items but those that must be right: the envelope's data, the
// task's id and external id, and its status.
func optionalFields(t testing.TB, body []byte) (paths [][]any) {
	var root any
	decodeInto(t, body, &root)
	var walk func(v any, path []any)
	walk = func(v any, path []any) {
		last, _ := append([]any{""}, path...)[len(path)].(string)
		task := slices.Equal(path[:max(len(path)-1, 0)], []any{"data"}) || len(path) == 1
		switch last {
		case "external_task_id", "external_id", "task_id", "task_status":
			return
		case "id", "status":
			if task {
				return
			}
		}
		if len(path) > 0 && last != "data" {
			paths = append(paths, slices.Clone(path))
		}
		switch v := v.(type) {
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(v)) {
				walk(v[name], append(path, name))
			}
		case []any:
			for i := range v {
				walk(v[i], append(path, i))
			}
		}
	}
	walk(root, nil)
	return paths
}

// oneOddField replaces the field and holds what is read to what the whole body says.
func oneOddField(t testing.TB, body []byte, path []any, value []byte) {
	t.Helper()
	whole, err := kling.DecodeCallback(body)
	if err != nil {
		t.Fatal(err)
	}
	var root, odd any
	decodeInto(t, body, &root)
	decodeInto(t, value, &odd)
	lost := replace(root, path, odd)
	mutated, err := json.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	got, err := kling.DecodeCallback(mutated)
	switch {
	case err != nil:
		t.Fatalf("%v for %s: %v", path, value, err)
	case got.ID != whole.ID || got.Status != whole.Status:
		t.Errorf("%v for %s: task %q is %q, want %q, %q", path, value, got.ID, got.Status, whole.ID, whole.Status)
	case got.ExternalID != whole.ExternalID && (path[len(path)-1] != "task_info" || got.ExternalID != ""):
		t.Errorf("%v for %s: external id %q, want %q", path, value, got.ExternalID, whole.ExternalID)
	}
	gone, read := fmt.Sprint(lost), links(got)
	for _, url := range links(whole) {
		if !slices.Contains(read, url) && !strings.Contains(gone, url) {
			t.Errorf("%v for %s: %s is lost", path, value, url)
		}
	}
}

// replace sets what is at the path and returns what was there.
func replace(root any, path []any, value any) (was any) {
	for i, step := range path {
		last := i == len(path)-1
		switch at := root.(type) {
		case map[string]any:
			root = at[step.(string)]
			if last {
				at[step.(string)] = value
			}
		case []any:
			root = at[step.(int)]
			if last {
				at[step.(int)] = value
			}
		}
	}
	return root
}

// links are all URLs of a task.
func links(t kling.Task) (urls []string) {
	for _, v := range t.Videos {
		urls = append(urls, v.URL, v.WatermarkURL)
	}
	for _, i := range t.Images {
		urls = append(urls, i.URL, i.WatermarkURL)
	}
	for _, a := range t.Audios {
		urls = append(urls, a.URLMP3, a.URLWAV)
	}
	for _, f := range t.Files {
		urls = append(urls, f.URL)
	}
	return slices.DeleteFunc(urls, func(url string) bool { return url == "" })
}

// BenchmarkDecodeOddCallback takes the slow way.
func BenchmarkDecodeOddCallback(b *testing.B) {
	body := bytes.Replace(golden(b, "callback_finished"), []byte(`{"external_task_id":"job-7f3a-1"}`), []byte(`[]`), 1)
	b.ReportAllocs()
	for b.Loop() {
		if task, err := kling.DecodeCallback(body); err != nil || len(task.Odd) != 1 {
			b.Fatal(task, err)
		}
	}
}
