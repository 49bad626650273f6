package kling

// wireObject is an object of Kling's whose members are known.
type wireObject interface {
	// field returns the pointer to that of a member; nil: there is none.
	field(name []byte) any
}

// wireList is a list of them, or of values.
type wireList interface {
	// next adds an item and returns the pointer to it.
	next() any
}

type list[T any] []T

func (l *list[T]) next() any {
	var item T
	*l = append(*l, item)
	return &(*l)[len(*l)-1]
}

func (w *wireTask) field(name []byte) any {
	switch string(name) {
	case "task_id":
		return &w.TaskID
	case "task_status":
		return &w.TaskStatus
	case "task_status_msg":
		return &w.TaskStatusMsg
	case "task_info":
		return &w.TaskInfo
	case "external_task_id":
		return &w.ExternalTaskID
	case "task_result":
		return &w.TaskResult
	case "created_at":
		return &w.CreatedAt
	case "updated_at":
		return &w.UpdatedAt
	case "final_unit_deduction":
		return &w.FinalUnitDeduction
	default:
		return w.fieldV2(name)
	}
}

func (w *wireTask) fieldV2(name []byte) any {
	switch string(name) {
	case "id":
		return &w.ID
	case "status":
		return &w.Status
	case "message":
		return &w.Message
	case "external_id":
		return &w.ExternalID
	case "outputs":
		return &w.Outputs
	case "billing":
		return &w.Billing
	case "create_time":
		return &w.CreateTime
	case "update_time":
		return &w.UpdateTime
	default:
		return nil
	}
}

func (w *wireInfo) field(name []byte) any {
	switch string(name) {
	case "external_task_id":
		return &w.ExternalTaskID
	default:
		return nil
	}
}

func (w *wireResult) field(name []byte) any {
	switch string(name) {
	case "videos":
		return &w.Videos
	case "images":
		return &w.Images
	case "series_images":
		return &w.SeriesImages
	case "audios":
		return &w.Audios
	case "voices":
		return &w.Voices
	case "elements":
		return &w.Elements
	default:
		return nil
	}
}

func (w *wireVideo) field(name []byte) any {
	switch string(name) {
	case "id":
		return &w.ID
	case "url":
		return &w.URL
	case "duration":
		return &w.Duration
	case "watermark_url":
		return &w.WatermarkURL
	default:
		return nil
	}
}

func (w *wireImage) field(name []byte) any {
	switch string(name) {
	case "index":
		return &w.Index
	case "url":
		return &w.URL
	case "watermark_url":
		return &w.WatermarkURL
	default:
		return w.shot(name)
	}
}

func (w *wireImage) shot(name []byte) any {
	switch string(name) {
	case "url_1":
		return &w.URL1
	case "url_2":
		return &w.URL2
	case "url_3":
		return &w.URL3
	case "url_4":
		return &w.URL4
	case "url_5":
		return &w.URL5
	case "url_6":
		return &w.URL6
	case "url_7":
		return &w.URL7
	case "url_8":
		return &w.URL8
	case "url_9":
		return &w.URL9
	default:
		return nil
	}
}

func (w *wireAudio) field(name []byte) any {
	switch string(name) {
	case "id":
		return &w.ID
	case "url":
		return &w.URL
	case "url_mp3":
		return &w.URLMP3
	case "url_wav":
		return &w.URLWAV
	case "duration":
		return &w.Duration
	case "duration_mp3":
		return &w.DurationMP3
	case "duration_wav":
		return &w.DurationWAV
	default:
		return nil
	}
}

func (w *wireAsset) field(name []byte) any {
	switch string(name) {
	case "voice_id":
		return &w.VoiceID
	case "element_id":
		return &w.ElementID
	default:
		return nil
	}
}

func (o *wireOutput) field(name []byte) any {
	switch string(name) {
	case "type":
		return &o.Type
	case "id":
		return &o.ID
	case "url":
		return &o.URL
	case "mp3_url":
		return &o.MP3URL
	case "wav_url":
		return &o.WAVURL
	case "duration":
		return &o.Duration
	case "mp3_duration":
		return &o.MP3Duration
	case "wav_duration":
		return &o.WAVDuration
	case "watermark_url":
		return &o.WatermarkURL
	default:
		return nil
	}
}

func (c *wireCharge) field(name []byte) any {
	switch string(name) {
	case "charge_type":
		return &c.ChargeType
	case "amount":
		return &c.Amount
	default:
		return nil
	}
}
