package bridge_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/klingbridge/klingbridge/events"
)

// TestOddValuesMakeSoundEvents has callbacks say what Kling would not: the events keep to their schema all the same,
// against which every stored event is checked.
func TestOddValuesMakeSoundEvents(t *testing.T) {
	t.Parallel()
	const aVideo = `"task_result":{"videos":[{"id":"1","url":"https://a","duration":"5"}]}`
	w := start(t, setup{sim: silent()})
	for i, fields := range []string{
		`"final_unit_deduction":"a lot",` + aVideo, `"final_unit_deduction":-1,` + aVideo, `"final_unit_deduction":"1e3",` + aVideo,
		`"task_result":{"videos":[{"id":"1","url":"https://a","duration":"-5"}]}`,
		`"task_result":{"videos":[{"id":"1","url":"https://a","duration":"1e999"}]}`,
		`"task_result":{"audios":[{"id":"1","url":"https://a","duration":"-1e999"}]}`, `"outputs":[{"type":"\u0000","url":"\r\n"}]`,
		`"task_result":{"images":[{"index":-1,"url":"https://a"}]}`,
		`"updated_at":253402300799999,"created_at":253402300799999,` + aVideo,
		`"task_info":{"external_task_id":null},"task_status_msg":"\u0000\r\nX: y",` + aVideo,
		`"task_result":{"videos":[{"id":"\u0000","url":"\r\n","duration":"NaN"}]}`,
	} {
		id := fmt.Sprintf("odd-%d", i)
		task := w.task("text2video", id)
		if got := w.post(task.CallbackURL, `{"task_status":"succeed",`+fields+`}`); got != http.StatusOK {
			t.Errorf("%s: %d", fields, got)
			continue
		}
		if ev := w.await(id); ev.Status != events.StatusSucceed || strings.ContainsAny(ev.Units, "-e ") {
			t.Errorf("%s: %+v", fields, ev)
		}
		w.stored("KLING_EVENTS", "kling.completion.*.*."+id)
	}
}
