package klingtest

import "github.com/klingbridge/klingbridge/bridge/kling"

type v2Task struct {
	ID         string     `json:"id"`
	Status     string     `json:"status"`
	Message    string     `json:"message"`
	Created    int64      `json:"create_time"`
	Updated    int64      `json:"update_time"`
	ExternalID string     `json:"external_id,omitempty"`
	Outputs    []v2Output `json:"outputs"`
	Billing    []v2Bill   `json:"billing,omitempty"`
}

// tryOnCreated is the answer to the create call of virtual-try-on, unlike any other (its page, 2026-09).
type tryOnCreated struct {
	ID         string `json:"task_id"`
	Status     string `json:"status"`
	Created    int64  `json:"create_time"`
	ExternalID string `json:"external_id"`
}

type v2Output struct {
	Type      string `json:"type"`
	ID        string `json:"id,omitempty"`
	Group     string `json:"group_id,omitempty"` // of a series of images
	URL       string `json:"url,omitempty"`
	MP3       string `json:"mp3_url,omitempty"`
	WAV       string `json:"wav_url,omitempty"`
	Watermark string `json:"watermark_url,omitempty"`
	Duration  string `json:"duration,omitempty"`
}

type v2Bill struct {
	ChargeType  string `json:"charge_type,omitempty"`
	Amount      string `json:"amount"`
	PackageType string `json:"package_type,omitempty"`
}

// renderV2 returns the task in the newer shape, in which v1 tasks are shown too where both are asked for (recorded
// 2026-09).
func (t *task) renderV2(what Rendering) any {
	if what == RenderedCreate && t.Kind.Name == tryOnSolution {
		return tryOnCreated{ID: t.ID, Status: t.Status, Created: t.CreatedAt.UnixMilli(), ExternalID: t.ExternalID}
	}
	o := v2Task{
		ID: t.ID, Status: t.statusV2(), Message: t.Message, ExternalID: t.ExternalID, Outputs: []v2Output{},
		Created: t.CreatedAt.UnixMilli(), Updated: t.UpdatedAt.UnixMilli(),
	}
	if !t.Ended() {
		return o
	}
	if t.Status == StatusFailed {
		o.Billing = []v2Bill{{Amount: "0"}} // without a type (recorded 2026-09)
		return o
	}
	o.Billing = []v2Bill{{ChargeType: "unit", Amount: t.units(), PackageType: string(t.Kind.Pool)}}
	for _, m := range t.results {
		o.Outputs = append(o.Outputs, t.outputV2(m))
	}
	return o
}

// statusV2 is the task's status where the newer shape is spoken.
func (t *task) statusV2() string {
	if t.Kind.Generation == kling.V1 && t.Status == StatusSucceed {
		return StatusSucceeded
	}
	return t.Status
}

// outputV2 is a result of the newer shape. Images and what solutions make have no id; the videos of clothing-dupe have no
// duration either (Kling's pages, 2026-09).
func (t *task) outputV2(m media) v2Output {
	o := v2Output{Type: m.output, ID: m.id, URL: m.url, Watermark: m.watermark}
	switch m.output {
	case outputImage:
		o.ID = ""
		if t.series {
			o.Group = t.ID
		}
	case outputVideo, outputSubbed:
		o.Duration = t.length()
	case outputAudio:
		o.URL, o.MP3, o.WAV, o.Duration = "", m.url, m.wav, audioSeconds
	}
	if t.Kind.Generation == kling.Solutions {
		o.ID = ""
	}
	return o
}
