package kling_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

func golden(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func at(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// decoded is what the recorded callbacks say, leaving out Raw.
func decoded() map[string]kling.Task {
	const (
		cdnVideo = "https://v15-kling-fdl.klingai.com/"
		cdnImage = "https://s15-kling-fdl.klingai.com/"
	)
	finished := kling.Task{
		ID: "871000000000000101", ExternalID: "job-7f3a-1", Status: kling.StatusSucceed,
		CreatedAt: at(1775000000123), UpdatedAt: at(1775000229530),
		Videos: []kling.Video{
			{ID: "871000000000000777", URL: cdnVideo + "bs2/x/a.mp4?ksSecret=1f&ksTime=67", Duration: "5.1"},
		},
	}
	return map[string]kling.Task{
		"callback_finished": finished,
		"callback_wrapped":  finished,
		"callback_failed": {
			ID: "871000000000000102", ExternalID: "job-7f3a-2", Status: kling.StatusFailed,
			Message:   "Failure to pass the risk control system",
			CreatedAt: at(1775000100010), UpdatedAt: at(1775000160200),
		},
		"callback_v2": {
			ID: "933000000000000273", ExternalID: "job-9c1", Status: kling.StatusSucceed,
			CreatedAt: at(1790600000865), UpdatedAt: at(1790600180112),
			Videos: []kling.Video{
				{ID: "933000000000000901", URL: cdnVideo + "bs2/y/b.mp4?ksSecret=0a1b&ksTime=6a5f", Duration: "5.041"},
			},
			Units: "3",
		},
		"callback_console_test": {
			ID: "1234567890", Status: kling.StatusSubmitted,
			CreatedAt: at(1781080778802), UpdatedAt: at(1781080778802),
		},
		"callback_images": {
			ID: "871000000000000103", Status: kling.StatusSucceed,
			CreatedAt: at(1775000000123), UpdatedAt: at(1775000032000),
			Images: []kling.Image{
				{Index: 0, URL: cdnImage + "i/0.png", WatermarkURL: cdnImage + "i/0w.png"},
				{Index: 1, URL: cdnImage + "i/1.png"},
				{Index: 2, URL: cdnImage + "i/2.png"},
			},
			Units: "16.50",
		},
		"callback_multi_shot": {
			ID: "871000000000000104", Status: kling.StatusSucceed,
			CreatedAt: at(1775000000123), UpdatedAt: at(1775000032000),
			Images: []kling.Image{
				{Index: 0, URL: cdnImage + "m/1.png"},
				{Index: 1, URL: cdnImage + "m/2.png"},
				{Index: 2, URL: cdnImage + "m/3.png"},
			},
		},
		"callback_audios": {
			ID: "871000000000000105", Status: kling.StatusSucceed,
			CreatedAt: at(1775000000123), UpdatedAt: at(1775000032000),
			Videos: []kling.Video{
				{ID: "871000000000000706", URL: cdnVideo + "o.mp4", Duration: "5.0", WatermarkURL: cdnVideo + "ow.mp4"},
			},
			Audios: []kling.Audio{
				{ID: "1", URLMP3: cdnVideo + "a.mp3", URLWAV: cdnVideo + "a.wav", Duration: "5.02"},
				{ID: "2", URLWAV: cdnVideo + "b.wav", Duration: "3.1"},
				{ID: "3", URLMP3: cdnVideo + "tts.mp3", Duration: "1.9"},
			},
		},
		"callback_v2_mixed": {
			ID: "933000000000000275", ExternalID: "job-9c3", Status: kling.StatusSucceed,
			CreatedAt: at(1790600000865), UpdatedAt: at(1790600180112),
			Images: []kling.Image{
				{Index: 0, URL: cdnImage + "i/7.png", WatermarkURL: cdnImage + "i/7w.png"},
				{Index: 1, URL: cdnImage + "i/8.png"},
			},
			Audios: []kling.Audio{
				{ID: "9", URLMP3: cdnVideo + "a.mp3", URLWAV: cdnVideo + "a.wav", Duration: "4.4"},
			},
			Assets: 1,
			Units:  "0.3",
		},
		"callback_subtitle": {
			ID: "951000000000000301", ExternalID: "job-s1", Status: kling.StatusSucceed,
			CreatedAt: at(1790600000865), UpdatedAt: at(1790600180112),
			Videos: []kling.Video{{URL: cdnVideo + "s/a.mp4?ksSecret=0a&ksTime=6a", Duration: "61.2"}},
			Files: []kling.File{
				{Type: "srt", URL: cdnVideo + "s/a.srt?ksSecret=0b&ksTime=6a"},
				{Type: "ass", URL: cdnVideo + "s/a.ass?ksSecret=0c&ksTime=6a"},
			},
			Units: "6.2",
		},
		"callback_clothing": {
			ID: "951000000000000302", ExternalID: "job-s2", Status: kling.StatusSucceed,
			CreatedAt: at(1790600000865), UpdatedAt: at(1790600180112),
			Videos: []kling.Video{{URL: cdnVideo + "c/3.mp4"}},
			Images: []kling.Image{
				{Index: 0, URL: cdnImage + "c/0.png"}, {Index: 1, URL: cdnImage + "c/1.png"}, {Index: 2, URL: cdnImage + "c/2.png"},
			},
			Units: "4",
		},
		"callback_voice": {
			ID: "871000000000000106", ExternalID: "job-v1", Status: kling.StatusSucceed,
			CreatedAt: at(1775000000123), UpdatedAt: at(1775000009000), Assets: 1, Units: "0.05",
		},
	}
}

func TestDecodeCallback(t *testing.T) {
	t.Parallel()
	for name, want := range decoded() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := golden(t, name)
			got, err := kling.DecodeCallback(body)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(kling.Task{}, "Raw")); diff != "" {
				t.Errorf("task (-want +got):\n%s", diff)
			}
			if !bytes.Contains(body, got.Raw) || !json.Valid(got.Raw) || !bytes.Contains(got.Raw, []byte(want.ID)) {
				t.Errorf("Raw is not the task object as it came: %s", got.Raw)
			}
		})
	}
}

func TestDecodeCallbackTolerates(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		body string
		want kling.Task
	}{
		"nothing at all":          {`{}`, kling.Task{}},
		"nothing but white space": {" \r\n\t{ } \n", kling.Task{}},
		"an external id at the top": {
			`{"external_task_id":"job-1"}`, kling.Task{ExternalID: "job-1"},
		},
		"only an external id": {
			`{"task_info":{"external_task_id":"job-1"}}`, kling.Task{ExternalID: "job-1"},
		},
		"a wrapped task without an id": {
			`{"code":0,"message":"success","data":{"task_status":"processing"}}`,
			kling.Task{Status: kling.StatusProcessing},
		},
		"nulls everywhere": {
			`{"task_id":"1","task_status":"succeed","task_info":null,"task_status_msg":null,"created_at":null,
			  "task_result":{"images":null,"videos":[null],"audios":[null]},"outputs":null,"billing":null}`,
			kling.Task{ID: "1", Status: kling.StatusSucceed},
		},
		"ids beyond 2^53 as numbers": {
			`{"task_id":871000000000000101,"task_info":{"external_task_id":900719925474099399},
			  "task_result":{"videos":[{"id":871000000000000777,"url":"u","duration":5.10}]}}`,
			kling.Task{
				ID: "871000000000000101", ExternalID: "900719925474099399",
				Videos: []kling.Video{{ID: "871000000000000777", URL: "u", Duration: "5.10"}},
			},
		},
		"times as strings": {
			`{"id":"1","create_time":"1790600000865"}`, kling.Task{ID: "1", CreatedAt: at(1790600000865)},
		},
		"times in seconds, as a relay gives them (recorded 2026-09)": {
			`{"task_id":"1","created_at":1775000000,"updated_at":"99999999999"}`,
			kling.Task{ID: "1", CreatedAt: at(1775000000_000), UpdatedAt: at(99999999999_000)},
		},
		"the smallest time in milliseconds": {`{"id":"1","create_time":100000000000}`, kling.Task{ID: "1", CreatedAt: at(100000000000)}},
		"a byte order mark": {
			"\uFEFF" + ` {"task_id":"1","task_status":"failed"}`, kling.Task{ID: "1", Status: kling.StatusFailed},
		},
		"another vendor's shape (recorded 2026-09)": {
			`{"code":"success","message":"","data":{"status":"succeeded","task_id":"871","url":"https://h/a.mp4"}}`,
			kling.Task{ID: "871", Status: kling.StatusSucceed},
		},
		"times that are none": {`{"id":"1","create_time":"yesterday","update_time":1e99}`, kling.Task{ID: "1"}},
		"times out of range":  {`{"id":"1","create_time":-5,"update_time":9223372036854775807}`, kling.Task{ID: "1"}},
		"an unknown status":   {`{"id":"1","status":"paused"}`, kling.Task{ID: "1", Status: "paused"}},
		"an envelope's own message is not the task's": {
			`{"code":0,"message":"SUCCEED","data":{"id":"1","status":"failed"}}`,
			kling.Task{ID: "1", Status: kling.StatusFailed},
		},
		"escapes in a URL": {
			`{"id":"1","outputs":[{"type":"video","url":"https:\/\/h\/a.mp4?x=1\u0026y=%2F"}]}`,
			kling.Task{ID: "1", Videos: []kling.Video{{URL: "https://h/a.mp4?x=1&y=%2F"}}},
		},
		"an image index that is none": {
			`{"id":"1","task_result":{"images":[{"url":"a","index":"first"},{"url":"b"}]}}`,
			kling.Task{ID: "1", Images: []kling.Image{{Index: 0, URL: "a"}, {Index: 1, URL: "b"}}},
		},
		"more shots than documented, one empty": {
			`{"id":"1","task_result":{"images":[{"url_1":"a","url_2":"","url_3":"c","url_4":"d"}]}}`,
			kling.Task{ID: "1", Images: []kling.Image{{Index: 0, URL: "a"}, {Index: 1, URL: "c"}, {Index: 2, URL: "d"}}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := kling.DecodeCallback([]byte(test.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreFields(kling.Task{}, "Raw")); diff != "" {
				t.Errorf("task (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeCallbackRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"empty":                          "",
		"not JSON":                       "task_id=1",
		"HTML":                           "<html></html>",
		"cut off":                        `{"task_id":"1"`,
		"trailing data":                  `{"task_id":"1"}{"task_id":"2"}`,
		"null":                           "null",
		"an array":                       `[{"task_id":"1"}]`,
		"a string":                       `"task_id"`,
		"not UTF-8":                      "{\"task_id\":\"\xff\"}",
		"an id that is an object":        `{"task_id":{"id":"1"}}`,
		"an id that is a bool":           `{"task_id":true}`,
		"a status that is a list":        `{"task_id":"1","task_status":["succeed"]}`,
		"an id in task_info of a list":   `{"task_id":"1","task_info":{"external_task_id":["a"]}}`,
		"an external id that is a bool":  `{"id":"1","external_id":false,"outputs":{}}`,
		"a status that is an object":     `{"id":"1","status":{},"outputs":{}}`,
		"a wrapped id that is an object": `{"code":0,"data":{"task_id":{}}}`,
		"two marks of byte order":        "\uFEFF\uFEFF{}",
	}
	for name, body := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := kling.DecodeCallback([]byte(body)); !errors.Is(err, kling.ErrMalformed) {
				t.Errorf("got %+v, %v; want ErrMalformed", got, err)
			}
		})
	}
}

func TestDecodeCallbackWantsOneTask(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"two ids":                        `{"task_id":"1","task_id":"2"}`,
		"the first of two again":         `{"task_id":"1","task_id":"2","task_id":"1"}`,
		"another in capitals":            `{"task_id":"1","TASK_ID":"2"}`,
		"both names of an id":            `{"task_id":"1","id":"2"}`,
		"a number and a text":            `{"task_id":1,"task_id":"2"}`,
		"two external ids":               `{"task_info":{"external_task_id":"a","external_task_id":"b"}}`,
		"two task_infos":                 `{"task_info":{"external_task_id":"a"},"task_info":{"external_task_id":"b"}}`,
		"both places of an external id":  `{"task_info":{"external_task_id":"a"},"external_task_id":"b"}`,
		"all names of an external id":    `{"external_id":"a","external_task_id":"b"}`,
		"two wrapped tasks":              `{"data":{"task_id":"1"},"data":{"task_id":"2"}}`,
		"one wrapped in capitals":        `{"data":{"task_id":"1"},"Data":{"task_id":"2"}}`,
		"an id around another":           `{"task_id":"2","data":{"task_id":"1"}}`,
		"an external id around another":  `{"external_task_id":"b","data":{"external_id":"a"}}`,
		"two in what is wrapped":         `{"data":{"id":"1","id":"2"}}`,
		"two with an escape in the name": `{"task_id":"1","task\u005fid":"2"}`,
		"two beside an odd field":        `{"task_id":"1","task_result":[],"TASK\u005fID":"2"}`,
		"two beside an odd external id":  `{"task_info":{"external_task_id":"a"},"task_info":[],"external_id":"b"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := kling.DecodeCallback([]byte(body)); !errors.Is(err, kling.ErrAmbiguous) {
				t.Errorf("got %+v, %v; want ErrAmbiguous", got, err)
			}
		})
	}
	for name, body := range map[string]string{
		"the same twice":      `{"task_id":"1","id":1,"TASK_ID":"1","task_info":{"external_task_id":"a"},"external_id":"a"}`,
		"null and empty":      `{"task_id":null,"id":"1","task_id":"1","external_id":"","external_task_id":"a"}`,
		"the same around":     `{"task_id":"1","data":{"task_id":"1","external_id":"a"}}`,
		"none in the wrapped": `{"task_id":"1","external_task_id":"a","data":{}}`,
	} {
		if got, err := kling.DecodeCallback([]byte(body)); err != nil || got.ID != "1" {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

func TestUnits(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ fields, want string }{
		"none":           {`"billing":[]`, ""},
		"v1 as sent":     {`"final_unit_deduction":"1.50"`, "1.50"},
		"v1 empty":       {`"final_unit_deduction":""`, ""},
		"one row":        {`"billing":[{"charge_type":"unit","amount":"0.6"}]`, "0.6"},
		"zero":           {`"billing":[{"charge_type":"unit","amount":"0"}]`, "0"},
		"a whole number": {`"billing":[{"charge_type":"unit","amount":"100"}]`, "100"},
		"a sum that floats get wrong": {
			`"billing":[{"charge_type":"unit","amount":"0.1"},{"charge_type":"unit","amount":0.2}]`, "0.3",
		},
		"a sum that is whole": {
			`"billing":[{"charge_type":"unit","amount":"0.25"},{"charge_type":"unit","amount":"9.75"}]`, "10",
		},
		"a sum no float holds": {
			`"billing":[{"charge_type":"unit","amount":"9007199254740993"},{"charge_type":"unit","amount":"0.0001"}]`,
			"9007199254740993.0001",
		},
		"a failed task's, without a type (recorded 2026-09)": {`"billing":[{"amount":"0"}]`, "0"},
		"an amount without a type":                           {`"billing":[{"amount":"3"}]`, ""},
		"nothing beside money":                               {`"billing":[{"charge_type":"cash","amount":"9.99"},{"amount":0.0}]`, "0"},
		"a row that is odd":                                  {`"billing":[false,{"charge_type":"unit","amount":"3"}]`, "3"},
		"money is not units":                                 {`"billing":[{"charge_type":"cash","amount":"9.99"}]`, ""},
		"not a number":                                       {`"billing":[{"charge_type":"unit","amount":"3"},{"charge_type":"unit","amount":"?"}]`, ""},
		"a bomb":                                             {`"billing":[{"charge_type":"unit","amount":"1e999999999"}]`, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := kling.DecodeCallback([]byte(`{"id":"1",` + test.fields + `}`))
			if err != nil || got.Units != test.want {
				t.Errorf("units = %q, %v; want %q", got.Units, err, test.want)
			}
		})
	}
}

func TestTerminal(t *testing.T) {
	t.Parallel()
	for status, want := range map[kling.Status]bool{
		kling.StatusSubmitted: false, kling.StatusProcessing: false, "": false, "cancelled": false,
		kling.StatusSucceed: true, kling.StatusFailed: true,
	} {
		if status.Terminal() != want {
			t.Errorf("%q.Terminal() = %t", status, !want)
		}
	}
}

func FuzzDecodeCallback(f *testing.F) {
	for name := range decoded() {
		f.Add(golden(f, name))
	}
	f.Add([]byte(`{"data":{"id":1,"data":{"id":2}}}`))
	f.Add([]byte("{\"id\":\"\xff\"}"))
	f.Add([]byte("\uFEFF{\"data\":{\"id\":1}}"))
	f.Fuzz(func(t *testing.T, body []byte) {
		task, err := kling.DecodeCallback(body)
		if err != nil {
			if !errors.Is(err, kling.ErrMalformed) && !errors.Is(err, kling.ErrAmbiguous) {
				t.Fatalf("error %v is neither ErrMalformed nor ErrAmbiguous", err)
			}
			return
		}
		if !json.Valid(task.Raw) || !bytes.Contains(body, task.Raw) {
			t.Fatalf("Raw %q is not part of the body %q", task.Raw, body)
		}
		body = bytes.TrimPrefix(body, []byte("\uFEFF"))
		flat := strings.Trim(string(body), " \t\r\n")
		if string(task.Raw) != flat {
			var wrapper struct{ Data any }
			var raw any
			decodeInto(t, body, &wrapper)
			decodeInto(t, task.Raw, &raw)
			if diff := cmp.Diff(wrapper.Data, raw); diff != "" {
				t.Fatalf("Raw is another value than data:\n%s", diff)
			}
			return
		}
		if task.ID == "" && task.Status == "" {
			return // of a body that says nothing of a task, the wrapper says as much
		}
		again, err := kling.DecodeCallback([]byte(`{"code":0,"message":"success","data":` + flat + `}`))
		if err != nil {
			t.Fatalf("wrapped: %v", err)
		}
		if diff := cmp.Diff(task, again); diff != "" {
			t.Fatalf("flat and wrapped differ:\n%s", diff)
		}
	})
}

func decodeInto(t testing.TB, data []byte, v any) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(v); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkDecodeCallback(b *testing.B) {
	for _, name := range []string{"callback_finished", "callback_wrapped", "callback_v2"} {
		body := golden(b, name)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if _, err := kling.DecodeCallback(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
