package kling

// ModelName is what is known of the field model_name in the create body of a kind. It is for those who write requests:
// Kling adds and retires models too often for the bridge to judge one.
type ModelName struct {
	Default string // what Kling's API reference says it takes where the field is missing or empty
	Retired bool   // Kling no longer serves the default (probed 2026-09-28)
	Current string // a model to name instead
}

// ModelName reports whether the create call of a kind takes a model_name, and what is known of it. It goes by the path,
// so that a kind from a list (see [Kinds.With]) is known too. Kinds that take one but whose only models are retired have
// no entry: there is none to name.
//
// Sources: Kling's API reference of 2026-09, and for text2video and image2video a probe of 2026-09-28, which found that
// kling-v3 and kling-v2-5-turbo are served and that the models of before are not.
func (k Kind) ModelName() (m ModelName, takes bool) {
	switch k.Path {
	case "/v1/videos/text2video", "/v1/videos/image2video":
		return ModelName{Default: "kling-v1", Retired: true, Current: "kling-v3"}, true
	case "/v1/videos/omni-video":
		return ModelName{Default: "kling-video-o1", Current: "kling-v3-omni"}, true
	case "/v1/videos/motion-control":
		return ModelName{Default: "kling-v2-6", Current: "kling-v3"}, true
	case "/v1/images/generations":
		return ModelName{Default: "kling-v3", Current: "kling-v3"}, true
	case "/v1/images/omni-image":
		return ModelName{Default: "kling-image-o1", Current: "kling-v3-omni"}, true
	case "/v1/images/kolors-virtual-try-on":
		return ModelName{Default: "kolors-virtual-try-on-v1", Current: "kolors-virtual-try-on-v1-5"}, true
	default:
		return ModelName{}, false
	}
}
