package klingtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

// The limits of calls that answer at once (Kling's API reference, 2026-09).
const (
	maxSpeech      = 1000 // characters
	maxPoints      = 10   // of one frame, in multi-elements
	syncUnits      = "0.05"
	recognizeUnits = "0.1"
)

// SyncView is a call that answers at once and is about to be handled.
type SyncView struct {
	Name string   // as in kling.SyncCall
	Body []byte   // of a POST, byte for byte
	URL  *url.URL // of a GET, with its query
	Seen int      // how many calls of that name came before it
}

// session is what a call that answers at once has begun, for later ones and for tasks.
type session struct {
	of    string // the name of the call
	faces []string
}

// syncRules are what the bodies of calls that answer at once have to keep to.
func syncRules(name string) []rule {
	source := exactlyOne("video_id", "video_url")
	switch name {
	case "identify-face":
		return []rule{source, aURL("video_url")}
	case "multi-elements-init":
		return []rule{source, aURL("video_url")}
	case "multi-elements-add", "multi-elements-delete":
		return []rule{
			required("session_id", "frame_index", "points"),
			items("points", 1, maxPoints, required("x", "y"), number("x", 0, 1), number("y", 0, 1)),
		}
	case "multi-elements-clear", "multi-elements-preview":
		return []rule{required("session_id")}
	case "tts":
		return []rule{
			required("text", "voice_id", "voice_language"), text("text", maxSpeech), text("voice_id", maxPrompt),
			oneOf("voice_language", "zh", "en"), number("voice_speed", 0.8, 2),
		}
	case "image-recognize":
		return []rule{anyOf("image can not be null", "image"), image("image")}
	case "delete-voices":
		return []rule{required("voice_id")}
	case "delete-elements":
		return []rule{required("element_id")}
	default:
		return nil
	}
}

// aURL takes what Kling takes by URL only: videos (recorded text).
func aURL(name string) rule {
	return func(f fields) string {
		if f.has(name) && !isURL(f.text(name)) {
			return "Video URL is invalid"
		}
		return ""
	}
}

// syncCall prepares a call that answers at once.
func (s *Server) syncCall(r *http.Request, c call) (Fault, func() reply) {
	view := SyncView{Name: c.sync.Name, URL: r.URL}
	var body fields
	if r.Method == http.MethodPost {
		var refused *refusal
		if view.Body, body, refused = s.readBody(r); refused != nil {
			return refuse(refused)
		}
		if message := firstFault(body, syncRules(c.sync.Name)); message != "" {
			return refuse(&refusal{1201, message})
		}
	} else if message := s.syncQuery(r, c); message != "" {
		return refuse(&refusal{1201, message})
	}
	s.mu.Lock()
	view.Seen = s.calls.Sync[c.sync.Name] - 1 // this one is counted
	s.mu.Unlock()
	base := s.publicURL(r)
	return s.syncFault(view), func() reply {
		if message := s.fetchAll(localInputs("", view.Body)); message != "" {
			return refusal{1201, message}.reply()
		}
		return s.answerSync(c.sync.Name, body, base)
	}
}

// syncQuery says what is wrong with a query.
func (s *Server) syncQuery(r *http.Request, c call) string {
	if body, _ := io.ReadAll(io.LimitReader(r.Body, 1)); len(body) > 0 {
		s.violate("GET %s: it has a body", c.sync.Path)
	}
	for name, largest := range map[string]int{"pageNum": maxPageNum, "pageSize": maxVoicesPage} {
		if _, ok := queryNumber(r.URL.Query(), name, 1, largest); !ok {
			return fmt.Sprintf("%s value '%s' is invalid", name, r.URL.Query().Get(name))
		}
	}
	return ""
}

func (s *Server) syncFault(v SyncView) Fault {
	f := s.options.Faults
	if f.Sync != nil {
		if fault := f.Sync(v); fault != nil {
			return fault
		}
	}
	if s.dice.falls(f.LoseReply) {
		return pick(s.dice, ResetAfterStore, Gateway504AfterStore, TruncateAfterStore, Error500AfterStore)
	}
	return s.anyFault()
}

// answerSync does what a call asks for.
func (s *Server) answerSync(name string, body fields, base string) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls.SyncDone[name]++
	switch name {
	case "identify-face":
		return s.identifyFace(base)
	case "tts":
		return accept(s.spoken(base))
	case "image-recognize":
		return accept(s.recognized(base))
	case "delete-voices":
		return s.deleteAsset("voice", body.spelled("voice_id"))
	case "delete-elements":
		return s.deleteAsset("element", body.spelled("element_id"))
	case "presets-voices", "presets-elements":
		return accept(presets(name, base+s.files.link("preset.mp3", s.options.Now())))
	default:
		return s.multiElements(name, body, base)
	}
}

// newSession begins a session. The caller holds mu.
func (s *Server) newSession(of string, faces ...string) string {
	id := s.newID()
	s.sessions[id] = session{of, faces}
	return id
}

func (s *Server) link(base, extension string) string {
	return base + s.files.link(s.newID()+extension, s.options.Now())
}

func (s *Server) identifyFace(base string) reply {
	type face struct {
		ID    string `json:"face_id"`
		Image string `json:"face_image"`
		Start int    `json:"start_time"`
		End   int    `json:"end_time"`
	}
	return accept(struct {
		Session string `json:"session_id"`
		Faces   []face `json:"face_data"`
		Units   string `json:"final_unit_deduction"`
	}{s.newSession("identify-face", "0"), []face{{"0", s.link(base, ".png"), 0, 5200}}, syncUnits})
}

// speech is the answer to tts.
type speech struct {
	ID     string `json:"task_id"`
	Status string `json:"task_status"`
	Result struct {
		Audios []speechAudio `json:"audios"`
	} `json:"task_result"`
	Units string `json:"final_unit_deduction"`
}

type speechAudio struct {
	ID       string `json:"id"`
	URL      string `json:"url"`
	Duration string `json:"duration"`
}

func (s *Server) spoken(base string) speech {
	said := speech{ID: s.newID(), Status: StatusSucceed, Units: syncUnits}
	said.Result.Audios = []speechAudio{{s.newID(), s.link(base, ".mp3"), audioSeconds}}
	return said
}

func (s *Server) recognized(base string) any {
	type part struct {
		Type string `json:"type"`
		URL  string `json:"url"`
	}
	var parts []part
	for _, kind := range []string{"object_seg", "head_seg", "face_seg", "cloth_seg"} {
		parts = append(parts, part{kind, s.link(base, ".png")})
	}
	return map[string]any{"task_result": map[string]any{"images": parts}, "final_unit_deduction": recognizeUnits}
}

// deleteAsset deletes a voice or an element once: a second time is refused. A voice's answer has data, an element's none; both
// were recorded (2026-09).
func (s *Server) deleteAsset(what, id string) reply {
	if s.deleted[what+id] {
		return refusal{1201, what + " id not found: " + id}.reply()
	}
	s.deleted[what+id] = true
	if what == "element" {
		return accept(nil)
	}
	return accept(map[string]string{"task_id": s.newID(), "task_status": StatusSucceed})
}

// presets are lists of tasks, each with one of Kling's own.
func presets(name, trial string) []map[string]any {
	own := map[string]any{"elements": []map[string]any{{"element_id": 1001, "element_name": "Simulated element", "owned_by": "kling"}}}
	if name == "presets-voices" {
		own = map[string]any{"voices": []map[string]any{
			{"voice_id": "simulated-voice", "voice_name": "Simulated voice", "trial_url": trial, "owned_by": "kling"},
		}}
	}
	return []map[string]any{{"task_id": "1", "task_status": StatusSucceed, "task_result": own}}
}

// multiElements answers the calls of an editing session.
func (s *Server) multiElements(name string, body fields, base string) reply {
	id := body.text("session_id")
	if name == "multi-elements-init" {
		return accept(map[string]any{
			"status": 0, "session_id": s.newSession(name), "fps": 30, "original_duration": 5100, "width": 1280, "height": 720,
			"total_frame": 153, "normalized_video": s.link(base, ".mp4"), "final_unit_deduction": "0",
		})
	}
	if s.sessions[id].of != "multi-elements-init" {
		return refusal{1201, invalid(body, "session_id")}.reply()
	}
	answer := map[string]any{"status": 0, "session_id": id}
	switch name {
	case "multi-elements-add", "multi-elements-delete":
		frame, _ := strconv.Atoi(body.spelled("frame_index"))
		answer["res"] = map[string]any{"frame_index": frame, "rle_mask_list": []map[string]any{{
			"object_id": 0, "rle_mask": map[string]any{"size": []int{720, 1280}, "counts": "simulated"},
		}}}
	case "multi-elements-preview":
		answer["res"] = map[string]any{
			"video": s.link(base, ".mp4"), "video_cover": s.link(base, ".png"), "tracking_output": s.link(base, ".mp4"),
		}
	}
	return accept(answer)
}

// unknownFace says that a task names a face that its session has not found. Of sessions of other simulations nothing is
// known.
func (s *Server) unknownFace(k kling.Kind, body fields) string {
	if k.Name != "advanced-lip-sync" {
		return ""
	}
	s.mu.Lock()
	known := s.sessions[body.text("session_id")]
	s.mu.Unlock()
	if known.of != "identify-face" {
		return ""
	}
	var chosen fields
	_ = json.Unmarshal(body.list("face_choose")[0], &chosen) // the rules have found one object
	if !slices.Contains(known.faces, chosen.text("face_id")) {
		return invalid(chosen, "face_id")
	}
	return ""
}
