package body

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
