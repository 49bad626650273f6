package klingtest

import (
	"encoding/json"
	"strconv"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

const (
	outputVideo   = "video"
	outputImage   = "image"
	outputAudio   = "audio"
	outputVoice   = "voice"
	outputElement = "element"

	// Those of solutions only (their pages, 2026-09).
	outputSubbed       = "subbed_video"
	outputSRT          = "srt"
	outputASS          = "ass"
	outputProductImage = "product_image"
	outputModelImages  = "model_images"
	outputProductVideo = "product_video"

	audioSeconds = "3.2" // of the audio files served
	shotsPerTask = 3     // images of ai-multi-shot: url_1 to url_3
)

// The solutions that Kling documents.
const (
	tryOnSolution    = "virtual-try-on"
	subtitleSolution = "drama-subtitle"
	clothingSolution = "clothing-dupe"
)

// media is one result of a task.
type media struct {
	output    string // one of the above
	id        string
	url       string // of an audio: the mp3
	wav       string
	watermark string // URL, when one was asked for
}

// outputsOf returns what a successful task has made.
func outputsOf(t *task) []string {
	switch t.Kind.Name {
	case "video-to-audio":
		return []string{outputVideo, outputAudio}
	case "text-to-audio":
		return []string{outputAudio}
	case "custom-voices":
		return []string{outputVoice}
	case "advanced-custom-elements":
		return []string{outputElement}
	case "ai-multi-shot":
		return repeated(outputImage, shotsPerTask)
	case subtitleSolution:
		return []string{outputSubbed, outputSRT, outputASS}
	case clothingSolution:
		return []string{outputProductImage, outputModelImages, outputModelImages, outputProductVideo}
	}
	if t.Kind.Pool == kling.PoolImage || t.Kind.Pool == kling.PoolTryOn {
		return repeated(outputImage, t.Slots)
	}
	return []string{outputVideo}
}

func repeated(s string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = s
	}
	return list
}

// results makes what a task has made, with URLs that stay the same for good. The caller holds mu.
func (s *Server) results(t *task) []media {
	var made []media
	for _, output := range outputsOf(t) {
		m := media{output: output, id: s.newID()}
		link := func(name string) string { return t.base + s.files.link(name, t.UpdatedAt) }
		switch extension := extensionOf(output); extension {
		case ".mp4", ".png":
			m.url = link(m.id + extension)
			if t.watermark {
				m.watermark = link(m.id + "_watermark" + extension)
			}
		case ".mp3":
			m.url, m.wav = link(m.id+extension), link(m.id+".wav")
		case ".srt", ".ass":
			m.url = link(m.id + extension)
		}
		made = append(made, m)
	}
	return made
}

// extensionOf returns that of the file with a result; empty: there is none.
func extensionOf(output string) string {
	switch output {
	case outputVideo, outputSubbed, outputProductVideo:
		return ".mp4"
	case outputImage, outputProductImage, outputModelImages:
		return ".png"
	case outputAudio, outputVoice:
		return ".mp3"
	case outputSRT, outputASS:
		return "." + output
	default:
		return ""
	}
}

type v1Task struct {
	ID        string     `json:"task_id"`
	Status    string     `json:"task_status"`
	Info      v1Info     `json:"task_info"`
	Result    *v1Result  `json:"task_result,omitempty"`
	Message   *string    `json:"task_status_msg,omitempty"`
	Created   int64      `json:"created_at"`
	Updated   int64      `json:"updated_at"`
	Watermark *watermark `json:"watermark_info,omitempty"`
	Units     string     `json:"final_unit_deduction,omitempty"`
	Balance   *v1Balance `json:"final_balance_deduction,omitempty"`
}

type v1Info struct {
	Parent     *v1Video `json:"parent_video,omitempty"`
	ExternalID string   `json:"external_task_id,omitempty"`
}

type watermark struct {
	Enabled bool `json:"enabled"`
}

type v1Balance struct {
	Quota     string `json:"quota"`
	ListPrice string `json:"list_price"`
}

// v1Result leaves out nil lists and shows empty ones.
type v1Result struct {
	Type     string      `json:"result_type,omitempty"`
	Images   []v1Image   `json:"images,omitzero"`
	Series   []v1Image   `json:"series_images,omitzero"`
	Videos   []v1Video   `json:"videos,omitzero"`
	Audios   []v1Audio   `json:"audios,omitzero"`
	Voices   []v1Voice   `json:"voices,omitzero"`
	Elements []v1Element `json:"elements,omitzero"`
}

type v1Video struct {
	ID        string `json:"id"`
	URL       string `json:"url"`
	Watermark string `json:"watermark_url,omitempty"`
	Duration  string `json:"duration"`
	Session   string `json:"session_id,omitempty"`
}

type v1Image struct {
	Index     int    `json:"index"`
	URL       string `json:"url,omitempty"`
	URL1      string `json:"url_1,omitempty"`
	URL2      string `json:"url_2,omitempty"`
	URL3      string `json:"url_3,omitempty"`
	Watermark string `json:"watermark_url,omitempty"`
}

type v1Audio struct {
	ID          string `json:"id"`
	MP3         string `json:"url_mp3"`
	WAV         string `json:"url_wav"`
	DurationMP3 string `json:"duration_mp3"`
	DurationWAV string `json:"duration_wav"`
}

type v1Voice struct {
	ID    string `json:"voice_id"`
	Trial string `json:"trial_url"`
}

type v1Element struct {
	ID     json.Number `json:"element_id"` // a number, as in the samples of the element page (2026-10)
	Status string      `json:"status"`
}

// render returns the task as Kling's JSON has it in the API generation of its kind.
func (t *task) render(what Rendering) any {
	if t.Kind.Generation != kling.V1 {
		return t.renderV2(what)
	}
	o := v1Task{
		ID: t.ID, Status: t.Status, Info: v1Info{ExternalID: t.ExternalID, Parent: t.parent()},
		Created: t.CreatedAt.UnixMilli(), Updated: t.UpdatedAt.UnixMilli(),
	}
	if what == RenderedCreate {
		return o
	}
	message := t.Message // a copy: the answer is written when the task may have moved on
	o.Message, o.Result = &message, t.resultV1(what)
	if !t.Ended() {
		return o
	}
	o.Units, o.Balance = t.units(), &v1Balance{Quota: "0", ListPrice: "0"}
	if what != RenderedCallback {
		o.Watermark = &watermark{t.watermark}
	}
	return o
}

// parent is the video that the task works on. The simulation has no file of it.
func (t *task) parent() *v1Video {
	if t.source == "" {
		return nil
	}
	return &v1Video{ID: t.source, Duration: "5.1"}
}

func (t *task) resultV1(what Rendering) *v1Result {
	result := &v1Result{}
	if what == RenderedCallback {
		result.Images, result.Videos, result.Audios = []v1Image{}, []v1Video{}, []v1Audio{}
	}
	if !t.Ended() || t.Status == StatusFailed {
		return result
	}
	if t.Kind.Name == "ai-multi-shot" {
		result.Images = []v1Image{{URL1: t.results[0].url, URL2: t.results[1].url, URL3: t.results[2].url}}
		return result
	}
	for i, m := range t.results {
		switch m.output {
		case outputVideo:
			result.Videos = append(result.Videos, t.videoV1(m))
		case outputImage:
			result.Images = append(result.Images, v1Image{Index: i, URL: m.url, Watermark: m.watermark})
		case outputAudio:
			result.Audios = append(result.Audios, v1Audio{m.id, m.url, m.wav, audioSeconds, audioSeconds})
		case outputVoice:
			result.Voices = append(result.Voices, v1Voice{m.id, m.url})
		case outputElement:
			result.Elements = append(result.Elements, v1Element{json.Number(m.id), StatusSucceed})
		}
	}
	if t.Kind.Name == "omni-image" {
		t.sortSeries(result)
	}
	return result
}

func (t *task) videoV1(m media) v1Video {
	v := v1Video{ID: m.id, URL: m.url, Watermark: m.watermark, Duration: t.length()}
	if t.Kind.Name == "multi-elements" {
		v.Session = "session-" + t.ID
	}
	return v
}

// sortSeries moves the images of an omni-image series where they belong.
func (t *task) sortSeries(result *v1Result) {
	result.Type = "single"
	if t.series {
		result.Type, result.Series, result.Images = "series", result.Images, []v1Image{}
	}
}

// length is a duration as Kling reports it: a little longer than asked for, recorded as 5.1 (v1) and 5.041 (v2).
func (t *task) length() string {
	fraction := ".041"
	if t.Kind.Generation == kling.V1 {
		fraction = ".1"
	}
	return strconv.Itoa(t.seconds) + fraction
}

// units is what a task has cost: near the price list of October 2026, and enough to add up. Failed tasks cost nothing.
func (t *task) units() string {
	if t.Status == StatusFailed {
		return "0"
	}
	return strconv.FormatFloat(float64(t.hundredths())/100, 'f', -1, 64)
}

func (t *task) hundredths() int {
	switch t.Kind.Name {
	case "text-to-audio", "video-to-audio":
		return 25
	case "custom-voices":
		return 5
	case "ai-multi-shot":
		return 2000
	}
	if t.Kind.Pool != kling.PoolVideo {
		return 800 * t.Slots
	}
	switch t.quality {
	case "4k":
		return 300 * t.seconds
	case "pro", "1080p":
		return 80 * t.seconds
	default:
		return 60 * t.seconds
	}
}
