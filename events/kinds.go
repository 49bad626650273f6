package events

// The kinds that every bridge knows: what Kling is to make. A bridge may know more, see BRIDGE_EXTRA_KINDS.
const (
	KindText2Video             = "text2video"
	KindImage2Video            = "image2video"
	KindVideoExtend            = "video-extend"
	KindLipSync                = "lip-sync"
	KindEffects                = "effects"
	KindAdvancedLipSync        = "advanced-lip-sync"
	KindMultiImage2Video       = "multi-image2video"
	KindMultiElements          = "multi-elements"
	KindOmniVideoV1            = "omni-video-v1"
	KindMotionControlV1        = "motion-control-v1"
	KindAvatar                 = "avatar"
	KindTextToAudio            = "text-to-audio"
	KindVideoToAudio           = "video-to-audio"
	KindCustomVoices           = "custom-voices"
	KindAdvancedCustomElements = "advanced-custom-elements"
	KindImageGenerations       = "image-generations"
	KindOmniImage              = "omni-image"
	KindMultiImage2Image       = "multi-image2image"
	KindImageExpand            = "image-expand"
	KindAIMultiShot            = "ai-multi-shot"
	KindKolorsVirtualTryOn     = "kolors-virtual-try-on"
	KindTextToVideo            = "text-to-video"
	KindImageToVideo           = "image-to-video"
	KindOmniVideo              = "omni-video"
	KindMotionControl          = "motion-control"
	KindVirtualTryOn           = "virtual-try-on"
	KindDramaSubtitle          = "drama-subtitle"
	KindClothingDupe           = "clothing-dupe"
)

// Kinds lists the kinds that every bridge knows.
func Kinds() []string {
	return []string{
		KindText2Video, KindImage2Video, KindVideoExtend, KindLipSync, KindEffects, KindAdvancedLipSync,
		KindMultiImage2Video, KindMultiElements, KindOmniVideoV1, KindMotionControlV1, KindAvatar, KindTextToAudio,
		KindVideoToAudio, KindCustomVoices, KindAdvancedCustomElements, KindImageGenerations, KindOmniImage,
		KindMultiImage2Image, KindImageExpand, KindAIMultiShot, KindKolorsVirtualTryOn, KindTextToVideo,
		KindImageToVideo, KindOmniVideo, KindMotionControl, KindVirtualTryOn, KindDramaSubtitle, KindClothingDupe,
	}
}
