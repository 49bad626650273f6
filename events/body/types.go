package body

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
