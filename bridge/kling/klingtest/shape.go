package klingtest

import (
	"encoding/json"
	"fmt"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

// Rendering says what a task object is sent for: each shows a little more or less (recorded, 2025-11 and 2025-12).
type Rendering string

// The renderings.
const (
	RenderedCreate   Rendering = "create"   // the answer to the create call
	RenderedQuery    Rendering = "query"    // by one id or several
	RenderedList     Rendering = "list"     // a page of any surface
	RenderedCallback Rendering = "callback" // with empty lists instead of absent ones
)

// shown is a task object on its way out. It is a copy: the task goes on. What is odd about it is made when it is
// written, without holding the server's mutex.
type shown struct {
	server *Server
	what   Rendering
	view   TaskView
	object any
}

// show returns the task in the shape of its kind's API generation. The caller holds mu, or t is a copy.
func (s *Server) show(t *task, what Rendering) shown {
	return shown{s, what, t.TaskView, t.render(what)}
}

// showV2 returns it in the newer shape. The caller holds mu.
func (s *Server) showV2(t *task, what Rendering) shown {
	return shown{s, what, t.TaskView, t.renderV2(what)}
}

// MarshalJSON returns the object as it is sent.
func (o shown) MarshalJSON() ([]byte, error) {
	object := encodeJSON(o.object)
	faults := o.server.options.Faults
	if faults.Reshape != nil {
		if other := faults.Reshape(o.what, o.view, object); other != nil {
			return other, nil
		}
	}
	if !o.server.dice.falls(faults.OddShape) {
		return object, nil
	}
	return oddly(object, o.server.dice), nil
}

// oddly gives one field of a task object a type that Kling never gives it: proxies, and languages that know no difference
// between a list and a map, do that (public reports, 2026). Ids, status, the reason of a failure and URLs stay as they are.
func oddly(object []byte, d *dice) []byte {
	var o fields
	if json.Unmarshal(object, &o) != nil {
		return object
	}
	odd := oddities()
	for len(odd) > 0 {
		i := int(d.between(0, int64(len(odd)-1)))
		if odd[i](o) {
			return encodeJSON(o)
		}
		odd = append(odd[:i], odd[i+1:]...)
	}
	return object
}

// oddities returns changes to a task object of either shape. Each says whether it could be made.
func oddities() []func(fields) bool {
	field := func(name, value string) func(fields) bool {
		return func(o fields) bool { return o.replace(name, value) }
	}
	blank := func(name, value string) func(fields) bool {
		return func(o fields) bool { return !o.has(name) && o.replace(name, value) }
	}
	emptyList := func(name string) func(fields) bool {
		return func(o fields) bool { return string(o[name]) == "[]" && o.replace(name, `{}`) }
	}
	return []func(fields) bool{
		field("task_info", `[]`),
		field("task_info", `""`),
		field("final_unit_deduction", `false`),
		field("watermark_info", `[]`),
		field("created_at", `[]`),
		field("create_time", `{}`),
		field("billing", `""`),
		blank("task_status_msg", `{"code":0}`),
		blank("message", `{"code":0}`),
		inResult(emptyList("images")),
		inResult(emptyList("audios")),
		inResult(oddDuration("videos")),
		oddDuration("outputs"),
		resultBeside,
	}
}

// replace gives a field that is there another value.
func (f fields) replace(name, value string) bool {
	_, there := f[name]
	if there {
		f[name] = json.RawMessage(value)
	}
	return there
}

// inResult makes a change to what is in task_result.
func inResult(change func(fields) bool) func(fields) bool {
	return func(o fields) bool {
		result := o.object("task_result")
		changed := change(result)
		if changed {
			o["task_result"] = encodeJSON(result)
		}
		return changed
	}
}

// oddDuration makes a list of the first item's duration.
func oddDuration(list string) func(fields) bool {
	return func(o fields) bool {
		items := o.list(list)
		var first fields
		if len(items) == 0 || json.Unmarshal(items[0], &first) != nil || !first.replace("duration", `[]`) {
			return false
		}
		items[0] = encodeJSON(first)
		o[list] = encodeJSON(items)
		return true
	}
}

// resultBeside moves the videos of a result to outputs, and leaves a list where the result was.
func resultBeside(o fields) bool {
	result := o.object("task_result")
	videos := result.list("videos")
	if len(videos) == 0 || len(result.list("audios")) > 0 {
		return false
	}
	for i := range videos {
		var video fields
		_ = json.Unmarshal(videos[i], &video) // we made it
		video["type"] = json.RawMessage(`"video"`)
		videos[i] = encodeJSON(video)
	}
	o["outputs"], o["task_result"] = encodeJSON(videos), json.RawMessage(`[]`)
	return true
}

// thinBodies returns what was seen instead of the task object of a success (public reports, 2026): no results, none that
// can be used, another vendor's shape, nothing at all.
func thinBodies(v TaskView) []string {
	vendor := fmt.Sprintf(`{"code":"success","message":"","data":{"status":"succeeded","task_id":%q,"url":"https://relay.invalid/%s.mp4"}}`,
		v.ID, v.ID)
	object := `{"task_id":%q,"task_status":%q%s}`
	results := []string{
		``, `,"task_result":{}`, `,"task_result":null`, `,"task_result":{"images":[],"videos":null,"audios":[]}`,
		`,"task_result":{"videos":[{"id":"1","url":"","duration":"5.1"}]}`,
	}
	if v.Kind.Generation != kling.V1 {
		object = `{"id":%q,"status":%q%s}`
		results = []string{``, `,"outputs":[]`, `,"outputs":null`, `,"outputs":[{"type":"video","id":"1","url":""}]`}
	}
	bodies := []string{vendor, `{}`}
	for _, result := range results {
		bodies = append(bodies, fmt.Sprintf(object, v.ID, v.Status, result))
	}
	return bodies
}
