package events

import (
	"encoding/json"
	"fmt"
)

// The types below are the create bodies of the kinds asked for most, with the fields Kling documents (its API
// reference, 2026-10). Limits and defaults are Kling's, and Kling checks them. A field left at its zero value is not
// sent. What is not typed goes into Extra, whose entries become fields beside the typed ones.
//
// Images are URLs or base64 without a data: prefix: jpg or png, up to 10 MB, sides from 300 px, ratio 1:2.5 to 2.5:1.
// Kling fetches URLs later than it answers, so they must stay valid. nats-object://<bucket>/<name> is replaced by the
// base64 of that object.

// Text2Video is the body of a text2video request (API v1).
type Text2Video struct {
	ModelName      string         `json:"model_name,omitempty"`      // such as kling-v3; Kling's default is discontinued
	Prompt         string         `json:"prompt,omitempty"`          // up to 2500 characters; required without MultiPrompt
	NegativePrompt string         `json:"negative_prompt,omitempty"` // up to 2500 characters
	MultiShot      bool           `json:"multi_shot,omitempty"`      // default false
	ShotType       string         `json:"shot_type,omitempty"`       // customize or intelligence; required with MultiShot
	MultiPrompt    []Shot         `json:"multi_prompt,omitempty"`    // 1 to 6; required with customize, in place of Prompt
	Sound          string         `json:"sound,omitempty"`           // on or off (default); from kling-v2-6
	CFGScale       *float64       `json:"cfg_scale,omitempty"`       // 0 to 1, default 0.5; not with v2 models
	Mode           string         `json:"mode,omitempty"`            // std (default), pro, 4k
	CameraControl  *CameraControl `json:"camera_control,omitempty"`  // few models take it
	AspectRatio    string         `json:"aspect_ratio,omitempty"`    // 16:9 (default), 9:16, 1:1
	Duration       string         `json:"duration,omitempty"`        // seconds: "3" to "15", default "5"; v2: 5 or 10
	WatermarkInfo  *WatermarkInfo `json:"watermark_info,omitempty"`

	Extra map[string]any `json:"-"` // further fields
}

// Image2Video is the body of an image2video request (API v1). One of Image and ImageTail is required; of ImageTail, the
// masks and CameraControl only one is allowed.
type Image2Video struct {
	ModelName      string         `json:"model_name,omitempty"`      // such as kling-v3; Kling's default is discontinued
	Image          string         `json:"image,omitempty"`           // the first frame
	ImageTail      string         `json:"image_tail,omitempty"`      // the last frame
	Prompt         string         `json:"prompt,omitempty"`          // up to 2500 characters
	NegativePrompt string         `json:"negative_prompt,omitempty"` // up to 2500 characters
	MultiShot      bool           `json:"multi_shot,omitempty"`      // default false
	ShotType       string         `json:"shot_type,omitempty"`       // customize or intelligence; required with MultiShot
	MultiPrompt    []Shot         `json:"multi_prompt,omitempty"`    // 1 to 6; required with customize, in place of Prompt
	ElementList    []Element      `json:"element_list,omitempty"`    // up to 3; not with VoiceList
	VoiceList      []Voice        `json:"voice_list,omitempty"`      // up to 2
	Sound          string         `json:"sound,omitempty"`           // on or off (default); from kling-v2-6
	CFGScale       *float64       `json:"cfg_scale,omitempty"`       // 0 to 1, default 0.5; not with v2 models
	Mode           string         `json:"mode,omitempty"`            // std (default), pro, 4k
	StaticMask     string         `json:"static_mask,omitempty"`     // in Image's ratio, else the task fails later
	DynamicMasks   []DynamicMask  `json:"dynamic_masks,omitempty"`   // up to 6
	CameraControl  *CameraControl `json:"camera_control,omitempty"`  // few models take it
	Duration       string         `json:"duration,omitempty"`        // seconds: "3" to "15", default "5"; v2: 5 or 10
	WatermarkInfo  *WatermarkInfo `json:"watermark_info,omitempty"`

	Extra map[string]any `json:"-"` // further fields
}

// VideoExtend is the body of a video-extend request (API v1). It adds 4 to 5 seconds; model and mode follow the source.
type VideoExtend struct {
	VideoID        string         `json:"video_id,omitempty"`        // of a result, at most 30 days old; required
	Prompt         string         `json:"prompt,omitempty"`          // up to 2500 characters
	NegativePrompt string         `json:"negative_prompt,omitempty"` // up to 2500 characters
	CFGScale       *float64       `json:"cfg_scale,omitempty"`       // 0 to 1, default 0.5
	WatermarkInfo  *WatermarkInfo `json:"watermark_info,omitempty"`

	Extra map[string]any `json:"-"` // further fields
}

// LipSync is the body of a lip-sync request (API v1).
type LipSync struct {
	Input LipSyncInput `json:"input"`

	Extra map[string]any `json:"-"` // further fields, beside input
}

// LipSyncInput says whose lips move to what. One of VideoID and VideoURL is required.
type LipSyncInput struct {
	Mode          string  `json:"mode,omitempty"`           // text2video or audio2video; required
	VideoID       string  `json:"video_id,omitempty"`       // of a result
	VideoURL      string  `json:"video_url,omitempty"`      // mp4 or mov up to 100 MB, 2 to 10 s, 720p or 1080p
	Text          string  `json:"text,omitempty"`           // text2video: up to 120 characters
	VoiceID       string  `json:"voice_id,omitempty"`       // text2video
	VoiceLanguage string  `json:"voice_language,omitempty"` // text2video: zh or en
	VoiceSpeed    float64 `json:"voice_speed,omitempty"`    // text2video: 0.8 to 2.0, default 1
	AudioType     string  `json:"audio_type,omitempty"`     // audio2video: file or url
	AudioFile     string  `json:"audio_file,omitempty"`     // base64 of mp3, wav, m4a or aac, up to 5 MB, 2 to 60 s
	AudioURL      string  `json:"audio_url,omitempty"`      // the same by URL
}

// Effects is the body of an effects request (API v1).
type Effects struct {
	EffectScene string       `json:"effect_scene,omitempty"` // the template's name; required
	Input       EffectsInput `json:"input"`

	Extra map[string]any `json:"-"` // further fields, beside input
}

// EffectsInput has one image or two, as the template wants.
type EffectsInput struct {
	Image  string   `json:"image,omitempty"`
	Images []string `json:"images,omitempty"` // exactly two, the first goes left
}

// TextToVideo is the body of a text-to-video request (API v2).
type TextToVideo struct {
	Model    string               `json:"model,omitempty"`  // such as kling-3.0; required; names the path
	Prompt   string               `json:"prompt,omitempty"` // up to 3072 characters, 2500 advised; required
	Settings *TextToVideoSettings `json:"settings,omitempty"`
	Options  *Options             `json:"options,omitempty"`

	Extra map[string]any `json:"-"` // further fields, beside settings and options
}

// TextToVideoSettings are the settings of kling-3.0.
type TextToVideoSettings struct {
	Resolution  string `json:"resolution,omitempty"`   // 720p (default), 1080p, 4k
	AspectRatio string `json:"aspect_ratio,omitempty"` // 16:9 (default), 9:16, 1:1
	Duration    int    `json:"duration,omitempty"`     // seconds, 3 to 15, default 5; kling-2.6: 5 or 10
	Audio       string `json:"audio,omitempty"`        // off or native
	MultiShot   *bool  `json:"multi_shot,omitempty"`   // default true
}

// Options are the options of API v2. The bridge adds its own to them.
type Options struct {
	WatermarkInfo *WatermarkInfo `json:"watermark_info,omitempty"`
}

// WatermarkInfo asks for a second result with a watermark.
type WatermarkInfo struct {
	Enabled bool `json:"enabled"`
}

// Shot is one of several shots of a video.
type Shot struct {
	Index    int    `json:"index"`
	Prompt   string `json:"prompt"`   // up to 512 characters
	Duration string `json:"duration"` // seconds, at least "1"; all together the video's
}

// Element names an element that was made before.
type Element struct {
	ElementID int64 `json:"element_id"`
}

// Voice names a voice.
type Voice struct {
	VoiceID string `json:"voice_id"`
}

// DynamicMask moves a part of an image.
type DynamicMask struct {
	Mask         string  `json:"mask"`         // an image
	Trajectories []Point `json:"trajectories"` // 2 to 77 points for 5 seconds
}

// Point is a pixel, counted from the bottom left.
type Point struct {
	X int `json:"x"`
	Y int `json:"y"`
}

// CameraControl moves the camera.
type CameraControl struct {
	Type   string        `json:"type"` // simple, down_back, forward_up, right_turn_forward, left_turn_forward
	Config *CameraConfig `json:"config,omitempty"`
}

// CameraConfig is for simple moves: exactly one value from -10 to 10 is not zero.
type CameraConfig struct {
	Horizontal float64 `json:"horizontal,omitempty"`
	Vertical   float64 `json:"vertical,omitempty"`
	Pan        float64 `json:"pan,omitempty"`
	Tilt       float64 `json:"tilt,omitempty"`
	Roll       float64 `json:"roll,omitempty"`
	Zoom       float64 `json:"zoom,omitempty"`
}

// AsRequest returns a request with this body, to which an id and more may be added. It fails when Extra can't be
// encoded or has a typed field that is set too.
func (b Text2Video) AsRequest() (Request, error) { return asRequest("text2video", b) }

// AsRequest is as [Text2Video.AsRequest].
func (b Image2Video) AsRequest() (Request, error) { return asRequest("image2video", b) }

// AsRequest is as [Text2Video.AsRequest].
func (b VideoExtend) AsRequest() (Request, error) { return asRequest("video-extend", b) }

// AsRequest is as [Text2Video.AsRequest].
func (b LipSync) AsRequest() (Request, error) { return asRequest("lip-sync", b) }

// AsRequest is as [Text2Video.AsRequest].
func (b Effects) AsRequest() (Request, error) { return asRequest("effects", b) }

// AsRequest is as [Text2Video.AsRequest].
func (b TextToVideo) AsRequest() (Request, error) { return asRequest("text-to-video", b) }

// MarshalJSON writes Extra beside the typed fields.
func (b Text2Video) MarshalJSON() ([]byte, error) {
	type typed Text2Video
	return inline(typed(b), b.Extra)
}

// MarshalJSON writes Extra beside the typed fields.
func (b Image2Video) MarshalJSON() ([]byte, error) {
	type typed Image2Video
	return inline(typed(b), b.Extra)
}

// MarshalJSON writes Extra beside the typed fields.
func (b VideoExtend) MarshalJSON() ([]byte, error) {
	type typed VideoExtend
	return inline(typed(b), b.Extra)
}

// MarshalJSON writes Extra beside the typed fields.
func (b LipSync) MarshalJSON() ([]byte, error) {
	type typed LipSync
	return inline(typed(b), b.Extra)
}

// MarshalJSON writes Extra beside the typed fields.
func (b Effects) MarshalJSON() ([]byte, error) {
	type typed Effects
	return inline(typed(b), b.Extra)
}

// MarshalJSON writes Extra beside the typed fields.
func (b TextToVideo) MarshalJSON() ([]byte, error) {
	type typed TextToVideo
	return inline(typed(b), b.Extra)
}

func asRequest(kind string, body any) (Request, error) {
	data, err := encode(body)
	if err != nil {
		return Request{}, fmt.Errorf("encode %s request: %w", kind, err)
	}
	return Request{Kind: kind, Body: data}, nil
}

// inline encodes typed, a struct, with the entries of extra as further fields.
func inline(typed any, extra map[string]any) ([]byte, error) {
	data, err := encode(typed)
	if err != nil || len(extra) == 0 {
		return data, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, err
	}
	for name, value := range extra {
		if _, taken := fields[name]; taken {
			return nil, fmt.Errorf("extra field %q is a typed one that is set too", name)
		}
		if fields[name], err = encode(value); err != nil {
			return nil, fmt.Errorf("extra field %q: %w", name, err)
		}
	}
	return encode(fields)
}
