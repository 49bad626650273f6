package kling

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// taskObjects are recorded task objects, by file.
func taskObjects(tb testing.TB) map[string][]byte {
	tb.Helper()
	paths, err := filepath.Glob("testdata/callback_*.json")
	if err != nil || len(paths) == 0 {
		tb.Fatal(paths, err)
	}
	all := map[string][]byte{}
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		all[filepath.Base(path)] = trimSpace(raw)
	}
	return all
}

// compareReaders fails where the fast reader accepts what the decoder of JSON reads otherwise.
func compareReaders(t *testing.T, raw []byte) (accepted bool) {
	t.Helper()
	fast, ok := readFast(raw)
	if !ok {
		return false
	}
	var slow wireTask
	if err := json.Unmarshal(raw, &slow); err != nil {
		t.Errorf("%s is accepted: %v", raw, err)
		return true
	}
	if got, want := fast.task(raw), slow.task(raw); !reflect.DeepEqual(got, want) || fast.contradicts() != slow.contradicts() {
		t.Errorf("%s is read as %+v, want %+v", raw, got, want)
	}
	return true
}

func TestFastReaderReadsWhatKlingDocuments(t *testing.T) {
	t.Parallel()
	for name, raw := range taskObjects(t) {
		if !compareReaders(t, raw) {
			t.Errorf("%s is left to the slow reader", name)
		}
	}
}

func TestFastReaderLeavesTheUnusual(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]string{
		"a name twice":               `{"task_id":"1","task_status":"succeed","task_id":"2"}`,
		"a name in capitals":         `{"task_id":"1","Task_Status":"succeed"}`,
		"a name of other letters":    "{\"task_id\":\"1\",\"ta\u017Fk_status\":\"succeed\"}",
		"an escaped name":            `{"task_id":"1","task\u005fstatus":"succeed"}`,
		"a list for an object":       `{"task_id":"1","task_status":"succeed","task_info":[]}`,
		"an object for a list":       `{"task_id":"1","task_status":"succeed","task_result":{"videos":{}}}`,
		"a number for a URL":         `{"task_id":"1","task_status":"succeed","task_result":{"videos":[{"url":1}]}}`,
		"a bool for a text":          `{"task_id":true}`,
		"half a surrogate":           `{"task_id":"1","task_status_msg":"\ud83d"}`,
		"invalid UTF-8":              "{\"task_id\":\"1\",\"task_status_msg\":\"\xff\"}",
		"more after the object":      `{"task_id":"1"} {"task_id":"2"}`,
		"an object that is cut":      `{"task_id":"1","task_status":"succ`,
		"a name twice further below": `{"task_id":"1","x":{"a":1,"a":2}}`,
	} {
		if compareReaders(t, []byte(raw)) {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestFastReaderReadsTheSame(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]string{
		"numbers for texts":   `{"task_id":871000000000000101,"task_status":"succeed","created_at":1775000000123,"final_unit_deduction":3.50}`,
		"null":                `{"task_id":null,"id":"1","status":"succeeded","outputs":null,"task_result":null,"task_info":null,"billing":[null]}`,
		"escapes":             `{"task_id":"1","task_result":{"videos":[{"url":"https:\/\/a\/b?x=1\u0026y=\ud83d\ude00"}]}}`,
		"lists of URLs":       `{"id":"1","status":"succeeded","outputs":[{"type":"model_images","url":["a",null,"b"]},{"type":"video","url":"c"},{"url":""}]}`,
		"empty":               `{}`,
		"white space":         "{ \"task_id\" :\t\"1\" , \"task_result\" : { \"images\" : [ ] } }",
		"unknown members":     `{"task_id":"1","x":{"a":[1,{"b":null}]},"y":[],"z":-1e9}`,
		"contradicting ids":   `{"task_id":"1","id":"2","task_info":{"external_task_id":"a"},"external_id":"b"}`,
		"images of all sorts": `{"task_id":"1","task_result":{"images":[{"index":"x","url":"a"},{"index":3,"watermark_url":"b"},{"url_1":"c","url_3":"d"}],"series_images":[{}]}}`,
	} {
		if !compareReaders(t, []byte(raw)) {
			t.Errorf("%s is left to the slow reader", name)
		}
	}
}

// TestFastReaderKnowsEveryField holds the lists of fields to the types' tags, which the decoder of JSON reads.
func TestFastReaderKnowsEveryField(t *testing.T) {
	t.Parallel()
	for _, object := range []wireObject{
		&wireTask{}, &wireInfo{}, &wireResult{}, &wireVideo{}, &wireImage{}, &wireAudio{}, &wireAsset{}, &wireOutput{}, &wireCharge{},
	} {
		v := reflect.ValueOf(object).Elem()
		for i := range v.NumField() {
			name := v.Type().Field(i).Tag.Get("json")
			if got := object.field([]byte(name)); got != v.Field(i).Addr().Interface() {
				t.Errorf("%T: %s is read into %T %v", object, name, got, got)
			}
		}
	}
}

func FuzzFastReader(f *testing.F) {
	for _, raw := range taskObjects(f) {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) { compareReaders(t, raw) })
}

// BenchmarkReadTask has both ways of reading side by side.
func BenchmarkReadTask(b *testing.B) {
	raw := taskObjects(b)["callback_finished.json"]
	b.Run("fast", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, ok := readFast(raw); !ok {
				b.Fatal("left to the slow reader")
			}
		}
	})
	b.Run("slow", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var w wireTask
			if err := json.Unmarshal(raw, &w); err != nil {
				b.Fatal(err)
			}
		}
	})
}
