package klingtest

import "github.com/klingbridge/klingbridge/bridge/kling"

// Limits of Kling's API reference (2026-10), in characters.
const (
	maxPrompt       = 2500
	maxPromptV2     = 3072
	maxShotPrompt   = 512
	maxAudioPrompt  = 200
	maxLipSyncText  = 120 // resellers' pages
	maxCallbackURL  = 4096
	maxListedInputs = 100 // of arrays whose length is not documented
)

// rulesOf returns what the bodies of each kind have to keep to. No rule lists models: Kling retires and adds them too
// often. A kind that is not documented has the rules of its generation.
func rulesOf(kinds kling.Kinds) map[string][]rule {
	byKind := map[string][]rule{}
	for _, k := range kinds.All() {
		switch k.Generation {
		case kling.V2:
			byKind[k.Name] = append(rulesV2(), ownRulesV2(k.Name)...)
		case kling.Solutions:
			byKind[k.Name] = solutionRules()
		default:
			byKind[k.Name] = append(rulesV1(), ownRulesV1(k.Name)...)
		}
	}
	return byKind
}

// taskOptions are the fields a task of either generation can have, in different places.
func taskOptions() []rule {
	return []rule{
		text("external_task_id", 1<<20), // neither charset nor length is documented
		text("callback_url", maxCallbackURL),
		optional("callback_url", func(f fields) bool { return isURL(f.text("callback_url")) }),
		within("watermark_info", boolean("enabled")),
	}
}

func rulesV1() []rule {
	return append(taskOptions(),
		text("model_name", maxPrompt),
		text("prompt", maxPrompt),
		text("negative_prompt", maxPrompt),
		number("cfg_scale", 0, 1),
		oneOf("sound", "on", "off"),
	)
}

// mode is "standard" and "professional" to some third parties, which Kling refuses (recorded, 2026).
func mode() rule { return oneOf("mode", "std", "pro", "4k") }

func ownRulesV1(kind string) []rule {
	switch kind {
	case "text2video":
		return append(shotRules(), oneOf("aspect_ratio", "16:9", "9:16", "1:1"), promptUnlessShots)
	case "image2video":
		return append(shotRules(),
			anyOf("image can not be null", "image", "image_tail"), // recorded
			image("image"), image("image_tail"), image("static_mask"), oneFrameControl,
			items("dynamic_masks", 0, 6, required("mask", "trajectories")),
			items("element_list", 0, 3, required("element_id")),
			items("voice_list", 0, 2, required("voice_id")),
		)
	case "omni-video-v1":
		return append(shotRules(), oneOf("aspect_ratio", "16:9", "9:16", "1:1"))
	case "video-extend":
		return []rule{required("video_id"), text("video_id", maxPrompt)}
	case "lip-sync":
		return lipSyncRules()
	case "advanced-lip-sync":
		return []rule{required("session_id", "face_choose"), items("face_choose", 1, 1,
			required("face_id", "sound_start_time", "sound_end_time", "sound_insert_time"),
			exactlyOne("audio_id", "sound_file"))}
	case "effects":
		return []rule{required("effect_scene", "input"), within("input",
			anyOf("image can not be null", "image", "images"), image("image"), twoImages)}
	default:
		return otherRulesV1(kind)
	}
}

func otherRulesV1(kind string) []rule {
	switch kind {
	case "multi-elements":
		return []rule{required("session_id"), mode()}
	case "multi-image2video", "motion-control-v1":
		return []rule{mode()}
	case "avatar":
		return []rule{mode(), required("image"), image("image"), exactlyOne("audio_id", "sound_file")}
	case "text-to-audio":
		return []rule{required("prompt"), text("prompt", maxAudioPrompt), number("duration", 3, 10)}
	case "video-to-audio":
		return []rule{exactlyOne("video_id", "video_url")}
	default:
		return imageRulesV1(kind)
	}
}

func imageRulesV1(kind string) []rule {
	switch kind {
	case "image-generations":
		return []rule{required("prompt"), image("image"), count("n", 1)}
	case "omni-image":
		return []rule{required("prompt"), count("n", 1), seriesAmount}
	case "multi-image2image":
		return []rule{count("n", 1)}
	case "image-expand":
		return []rule{
			required("image"), image("image"), count("n", 1),
			number("up_expansion_ratio", 0, 2), number("down_expansion_ratio", 0, 2),
			number("left_expansion_ratio", 0, 2), number("right_expansion_ratio", 0, 2),
		}
	case "kolors-virtual-try-on":
		return []rule{required("human_image"), image("human_image"), image("cloth_image")}
	default:
		return nil
	}
}

// retiredModel refuses the models that a live probe found discontinued (2026-09) and, where one of them is the documented
// default, no model.
func retiredModel(kind string) []rule {
	if kind != "text2video" && kind != "image2video" {
		return nil
	}
	return []rule{func(f fields) string {
		switch model := f.text("model_name"); model {
		case "":
			return "model_name value 'kling-v1' is invalid"
		case "kling-v1", "kling-v1-5", "kling-v1-6", "kling-v2-master", "kling-v2-1", "kling-v2-1-master":
			return invalid(f, "model_name")
		default:
			return ""
		}
	}}
}

// shotRules are what text2video, image2video and omni-video share.
func shotRules() []rule {
	return []rule{
		mode(),
		secondsText("duration", 3, 15), // which model takes which is for the model to say
		boolean("multi_shot"),
		oneOf("shot_type", "customize", "intelligence"),
		items("multi_prompt", 1, 6, required("prompt"), text("prompt", maxShotPrompt)),
		within("camera_control",
			oneOf("type", "simple", "down_back", "forward_up", "right_turn_forward", "left_turn_forward")),
		shotsComplete,
	}
}

func shotsComplete(f fields) string {
	if f.spelled("multi_shot") != "true" {
		return ""
	}
	if f.text("shot_type") != "customize" {
		return required("shot_type")(f)
	}
	return required("multi_prompt")(f)
}

func promptUnlessShots(f fields) string {
	if f.spelled("multi_shot") == "true" && f.text("shot_type") == "customize" {
		return ""
	}
	return required("prompt")(f)
}

// oneFrameControl: an end frame, masks and camera control exclude each other.
func oneFrameControl(f fields) string {
	controls := 0
	for _, used := range []bool{
		f.has("image_tail"), f.has("static_mask") || f.has("dynamic_masks"), f.has("camera_control"),
	} {
		if used {
			controls++
		}
	}
	if controls > 1 {
		return "image_tail, masks and camera_control exclude each other"
	}
	return ""
}

func lipSyncRules() []rule {
	return []rule{required("input"), within("input",
		required("mode"), oneOf("mode", "text2video", "audio2video"),
		anyOf("video_id or video_url is required", "video_id", "video_url"), // recorded
		text("text", maxLipSyncText), oneOf("voice_language", "zh", "en"), number("voice_speed", 0.8, 2),
		oneOf("audio_type", "file", "url"), lipSyncSource,
	)}
}

func lipSyncSource(input fields) string {
	switch {
	case input.text("mode") == "text2video":
		return required("text", "voice_id")(input)
	case input.text("audio_type") == "url":
		return required("audio_url")(input)
	default:
		return required("audio_type", "audio_file")(input)
	}
}

func twoImages(input fields) string {
	if input.has("images") && len(input.list("images")) != 2 {
		return "images must be two"
	}
	return ""
}

func seriesAmount(f fields) string {
	if f.text("series_amount") == "auto" {
		return ""
	}
	return count("series_amount", 2)(f)
}

func rulesV2() []rule {
	return []rule{
		text("prompt", maxPromptV2),
		within("settings",
			secondsInt("duration"),
			lowerCase("resolution"), // 480p is taken, and the task fails: a live probe, 2026-09
			oneOf("aspect_ratio", "16:9", "9:16", "1:1"),
			oneOf("audio", "off", "native", "original"),
			boolean("multi_shot")),
		within("options", taskOptions()...),
	}
}

func ownRulesV2(kind string) []rule {
	switch kind {
	case "text-to-video":
		return []rule{required("prompt")}
	case "image-to-video", "omni-video", "motion-control":
		return contents()
	default:
		return nil
	}
}

// solutionRules are few: what each solution takes is not for the bridge to know.
func solutionRules() []rule {
	return append(contents(), within("settings"), within("options", taskOptions()...))
}

func contents() []rule {
	return []rule{
		anyOf("contents cannot be empty", "contents"), // recorded
		items("contents", 1, maxListedInputs, required("type")),
	}
}
