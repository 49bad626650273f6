package klingtest

import (
	"cmp"
	"encoding/json"
	"io"
	"math"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

const (
	maxBody        = 128 << 20 // of a call; Kling documents none
	maxKeptBody    = 1 << 20   // of a view: base64 images of thousands of tasks would fill the memory
	policyMark     = "[policy]"
	defaultSeconds = 5 // of a video, both generations
	autoSeries     = 4 // images of a series whose length Kling chooses; the true number is not documented
)

// create prepares a create call: everything that is checked before Kling looks at the account.
func (s *Server) create(r *http.Request, c call) (Fault, func() reply) {
	raw, body, refused := s.readBody(r)
	if refused != nil {
		return refuse(refused)
	}
	t, refused := s.draft(c, raw, body)
	if refused != nil {
		return refuse(refused)
	}
	t.base = s.publicURL(r)
	view := CreateView{TaskView: t.TaskView}
	if t.ExternalID != "" {
		s.mu.Lock()
		view.Seen = s.seen[t.ExternalID]
		s.seen[t.ExternalID]++
		s.mu.Unlock()
	}
	return s.createFault(view), func() reply { return s.store(t, raw) }
}

func (s *Server) publicURL(r *http.Request) string {
	if s.options.PublicURL != "" {
		return s.options.PublicURL
	}
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// readBody reads a JSON object.
func (s *Server) readBody(r *http.Request) ([]byte, fields, *refusal) {
	badForm := func(message string) ([]byte, fields, *refusal) {
		s.violate("%s %s: %s", r.Method, r.URL.Path, message)
		return nil, nil, &refusal{1200, message}
	}
	mediaType, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset := params["charset"]
	if err != nil || mediaType != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return badForm("Content-Type is not application/json")
	}
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil { // the client broke off, which it may: nothing is made of half a body
		return nil, nil, &refusal{1200, "body can't be read"}
	}
	if len(raw) > maxBody {
		return badForm("body is too large")
	}
	var body fields
	if !utf8.Valid(raw) || json.Unmarshal(raw, &body) != nil || body == nil {
		return badForm("body is not a JSON object")
	}
	return raw, body, nil
}

// draft reads a task from the body of its create call.
func (s *Server) draft(c call, raw []byte, body fields) (*task, *refusal) {
	rules := s.rules[c.kind.Name]
	if s.options.RetiredModels {
		rules = append(slices.Clip(rules), retiredModel(c.kind.Name)...)
	}
	if message := firstFault(body, append(slices.Clip(rules), func(f fields) string { return s.unknownFace(c.kind, f) })); message != "" {
		return nil, &refusal{1201, message}
	}
	options := body
	if c.kind.Generation.NestsOptions() {
		options = body.object("options")
	}
	t := &task{
		TaskView: TaskView{
			ExternalID:  options.text("external_task_id"),
			Kind:        c.kind,
			Model:       cmp.Or(c.model, body.text("model_name"), body.object("input").text("model_name")),
			Prompt:      promptOf(body),
			CallbackURL: options.text("callback_url"),
			Slots:       slotsOf(c.kind.Pool, body),
			Status:      StatusSubmitted,
		},
		watermark: options.object("watermark_info").spelled("enabled") == "true" || options.spelled("watermark") == "true",
		seconds:   secondsOf(body),
		quality:   body.text("mode") + body.object("settings").text("resolution"),
		source:    sourceOf(body),
		series:    body.has("series_amount"),
		inputs:    localInputs("", raw),
	}
	if len(raw) <= maxKeptBody {
		t.Body = raw
	}
	s.checkPlacement(c, body, options, t.ExternalID)
	if strings.Contains(t.Prompt, policyMark) {
		return nil, policyRefusal(c.kind.Generation)
	}
	return t, nil
}

// policyRefusal is how content is refused at creation. Solutions have a text of their own for it, under the code of a bad
// value (Kling's solution pages, 2026-09).
func policyRefusal(g kling.Generation) *refusal {
	if g == kling.Solutions {
		return &refusal{1201, "Failure to pass the risk control system"}
	}
	return &refusal{1301, "content security policy triggered"}
}

// promptOf returns the text that was asked for, wherever the kind has it.
func promptOf(body fields) string {
	if body.has("prompt") {
		return body.text("prompt")
	}
	if text := body.object("input").text("text"); text != "" {
		return text
	}
	var parts []string
	for _, list := range []string{"multi_prompt", "contents"} {
		for _, raw := range body.list(list) {
			var item fields
			_ = json.Unmarshal(raw, &item)
			parts = append(parts, item.text("prompt")+item.text("text"))
		}
	}
	return strings.TrimSpace(strings.Join(parts, " "))
}

// slotsOf: video and try-on tasks take one slot, image tasks one for each image (Kling's concurrency page, 2026-10).
func slotsOf(pool kling.Pool, body fields) int {
	if pool != kling.PoolImage {
		return 1
	}
	if body.text("series_amount") == "auto" {
		return autoSeries
	}
	for _, name := range []string{"series_amount", "n"} {
		if n, err := strconv.Atoi(body.spelled(name)); err == nil && n > 0 {
			return n
		}
	}
	return 1
}

func secondsOf(body fields) int {
	for _, f := range []fields{body, body.object("settings"), body.object("input")} {
		if s, err := strconv.ParseFloat(f.spelled("duration"), 64); err == nil && s > 0 {
			return int(math.Ceil(min(s, 3600)))
		}
	}
	return defaultSeconds
}

// sourceOf returns the id of the video that the task works on.
func sourceOf(body fields) string {
	return body.text("video_id") + body.object("input").text("video_id")
}

// store lets a task begin, or says why the account can't have it.
func (s *Server) store(t *task, body []byte) reply {
	s.mu.Lock()
	if refused := s.roomFor(t); refused != nil {
		s.mu.Unlock()
		return refused.reply()
	}
	s.add(t)
	created, view := s.show(t, RenderedCreate), t.TaskView
	s.mu.Unlock()
	s.tell(Event{Type: Created, Route: RouteCreate, Task: view, Status: view.Status, Body: body})
	s.begin(t, view)
	return accept(created)
}

// roomFor says why a task can't be stored. The caller holds mu.
func (s *Server) roomFor(t *task) *refusal {
	if s.byExternal[t.ExternalID] != nil && !s.options.TakesKnownIDs {
		refused := alreadyExists(t.ExternalID)
		return &refused
	}
	if s.limited && s.credits <= 0 {
		return &refusal{code: 1102}
	}
	if !s.hasRoom(t) {
		return &refusal{code: 1303}
	}
	return nil
}

// alreadyExists refuses a reused external id: account-wide, over kinds and generations (recorded 2026-09), and here
// whatever has become of the first task.
func alreadyExists(externalID string) refusal {
	return refusal{1201, "External_task_id " + externalID + " already exists"}
}

// add stores a task. The caller holds mu.
func (s *Server) add(t *task) {
	now := s.options.Now()
	t.ID, t.CreatedAt, t.UpdatedAt = s.newID(), now, now
	t.number = len(s.tasks)
	s.credits--
	s.tasks = append(s.tasks, t)
	s.byID[t.ID] = t
	s.byKind[t.Kind.Name] = append(s.byKind[t.Kind.Name], t)
	if t.ExternalID != "" {
		s.byExternal[t.ExternalID] = t
	}
	s.take(t, t.Slots, now)
	waiting := s.waiters[:0]
	for _, w := range s.waiters {
		if w.n > len(s.tasks) {
			waiting = append(waiting, w)
			continue
		}
		close(w.reached)
	}
	s.waiters = waiting
}
