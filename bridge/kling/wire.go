package kling

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// wireTask has the fields of all generations; no task has all of them. The types of its ids and of its status make
// these strict; see [readLoosely].
type wireTask struct {
	// v1 (Kling's callback protocol page, 2026-03)
	TaskID        ident    `json:"task_id"`
	TaskStatus    state    `json:"task_status"`
	TaskStatusMsg text     `json:"task_status_msg"`
	TaskInfo      wireInfo `json:"task_info"`
	// Not where Kling puts it, but an id given here by anybody must not contradict either.
	ExternalTaskID ident `json:"external_task_id"`

	TaskResult         wireResult `json:"task_result"`
	CreatedAt          text       `json:"created_at"`
	UpdatedAt          text       `json:"updated_at"`
	FinalUnitDeduction text       `json:"final_unit_deduction"`

	// v2 (the same page, 2026-10)
	ID         ident            `json:"id"`
	Status     state            `json:"status"`
	Message    text             `json:"message"`
	ExternalID ident            `json:"external_id"`
	Outputs    list[wireOutput] `json:"outputs"`
	Billing    list[wireCharge] `json:"billing"`
	CreateTime text             `json:"create_time"`
	UpdateTime text             `json:"update_time"`
}

type wireInfo struct {
	ExternalTaskID ident `json:"external_task_id"`
}

type wireResult struct {
	Videos       list[wireVideo] `json:"videos"`
	Images       list[wireImage] `json:"images"`
	SeriesImages list[wireImage] `json:"series_images"`
	Audios       list[wireAudio] `json:"audios"`
	Voices       list[wireAsset] `json:"voices"`
	Elements     list[wireAsset] `json:"elements"`
}

type wireVideo struct {
	ID           text `json:"id"`
	URL          link `json:"url"`
	Duration     text `json:"duration"`
	WatermarkURL link `json:"watermark_url"`
}

// wireImage is an image, or several: a multi-shot image has url_1, url_2, … in place of url. Three are documented, and
// nine is the largest number of images that one task makes.
type wireImage struct {
	Index        text `json:"index"`
	URL          link `json:"url"`
	WatermarkURL link `json:"watermark_url"`
	URL1         link `json:"url_1"`
	URL2         link `json:"url_2"`
	URL3         link `json:"url_3"`
	URL4         link `json:"url_4"`
	URL5         link `json:"url_5"`
	URL6         link `json:"url_6"`
	URL7         link `json:"url_7"`
	URL8         link `json:"url_8"`
	URL9         link `json:"url_9"`
}

// urls are those of the shots.
func (w wireImage) urls() [9]link {
	return [...]link{w.URL1, w.URL2, w.URL3, w.URL4, w.URL5, w.URL6, w.URL7, w.URL8, w.URL9}
}

// wireAudio comes as {id, url_mp3, url_wav, …} and, of text to speech, as {id, url, duration}.
type wireAudio struct {
	ID          text `json:"id"`
	URL         link `json:"url"`
	URLMP3      link `json:"url_mp3"`
	URLWAV      link `json:"url_wav"`
	Duration    text `json:"duration"`
	DurationMP3 text `json:"duration_mp3"`
	DurationWAV text `json:"duration_wav"`
}

// wireAsset is a voice or an element.
type wireAsset struct {
	VoiceID   text `json:"voice_id"`
	ElementID text `json:"element_id"`
}

// wireOutput is one result of a task of V2 or Solutions, or several of one type: no example of model_images was
// recorded, and their url may be a list.
type wireOutput struct {
	Type         text  `json:"type"`
	ID           text  `json:"id"`
	URL          links `json:"url"`
	MP3URL       link  `json:"mp3_url"`
	WAVURL       link  `json:"wav_url"`
	Duration     text  `json:"duration"`
	MP3Duration  text  `json:"mp3_duration"`
	WAVDuration  text  `json:"wav_duration"`
	WatermarkURL link  `json:"watermark_url"`
}

type wireCharge struct {
	ChargeType text `json:"charge_type"`
	Amount     text `json:"amount"`
}

func (w *wireTask) task(raw json.RawMessage) Task {
	t := Task{
		ID:         string(cmp.Or(w.TaskID.text, w.ID.text)),
		ExternalID: string(cmp.Or(w.TaskInfo.ExternalTaskID.text, w.ExternalID.text, w.ExternalTaskID.text)),
		Status:     cmp.Or(w.TaskStatus, w.Status).status(),
		Message:    string(cmp.Or(w.TaskStatusMsg, w.Message)),
		CreatedAt:  cmp.Or(w.CreatedAt, w.CreateTime).time(),
		UpdatedAt:  cmp.Or(w.UpdatedAt, w.UpdateTime).time(),
		Units:      cmp.Or(w.FinalUnitDeduction.units(), units(w.Billing)),
		Raw:        raw,
	}
	for _, v := range w.TaskResult.Videos {
		t.addVideo(v)
	}
	for _, i := range w.TaskResult.Images {
		t.addImage(i)
	}
	for _, i := range w.TaskResult.SeriesImages {
		t.addImage(i)
	}
	for _, a := range w.TaskResult.Audios {
		t.addAudio(a)
	}
	for _, a := range slices.Concat(w.TaskResult.Voices, w.TaskResult.Elements) {
		if a != (wireAsset{}) {
			t.Assets++
		}
	}
	for i := range w.Outputs {
		t.addOutput(&w.Outputs[i])
	}
	return t
}

// contradicts reports whether the object names two tasks: one id in several places, or one that is given again, or with
// capitals, which encoding/json takes for the same and other programs do not.
func (w *wireTask) contradicts() bool {
	return differ(w.TaskID, w.ID) || differ(w.TaskInfo.ExternalTaskID, w.ExternalID, w.ExternalTaskID)
}

func differ(ids ...ident) bool {
	var first text
	for _, id := range ids {
		if id.twice || id.text != "" && first != "" && id.text != first {
			return true
		}
		first = cmp.Or(first, id.text)
	}
	return false
}

func (t *Task) addVideo(v wireVideo) {
	if v.ID == "" && v.URL == "" && v.WatermarkURL == "" {
		return
	}
	t.Videos = append(t.Videos, Video{
		ID: string(v.ID), URL: string(v.URL), Duration: string(v.Duration), WatermarkURL: string(v.WatermarkURL),
	})
}

func (t *Task) addImage(w wireImage) {
	if w.URL != "" || w.WatermarkURL != "" {
		index, err := strconv.Atoi(string(w.Index))
		if err != nil || index < 0 {
			index = len(t.Images)
		}
		t.Images = append(t.Images, Image{Index: index, URL: string(w.URL), WatermarkURL: string(w.WatermarkURL)})
	}
	if w.URL != "" {
		return
	}
	for _, url := range w.urls() {
		if url != "" {
			t.Images = append(t.Images, Image{Index: len(t.Images), URL: string(url)})
		}
	}
}

func (t *Task) addAudio(a wireAudio) {
	if a == (wireAudio{}) {
		return
	}
	t.Audios = append(t.Audios, Audio{
		ID:       string(a.ID),
		URLMP3:   string(cmp.Or(a.URLMP3, a.URL)),
		URLWAV:   string(a.URLWAV),
		Duration: string(cmp.Or(a.DurationMP3, a.DurationWAV, a.Duration)),
	})
}

// addOutput adds an output, or one for each of its URLs.
func (t *Task) addOutput(o *wireOutput) {
	if o.Type == "voice" || o.Type == "element" {
		t.Assets++
		return
	}
	if len(o.URL) == 0 {
		t.addMedia(o, "")
	}
	for _, url := range o.URL {
		t.addMedia(o, url)
		o.WatermarkURL, o.MP3URL, o.WAVURL = "", "", "" // once
	}
}

func (t *Task) addMedia(o *wireOutput, url link) {
	switch o.medium() {
	case "video":
		t.addVideo(wireVideo{ID: o.ID, URL: url, Duration: o.Duration, WatermarkURL: o.WatermarkURL})
	case "image":
		t.addImage(wireImage{URL: url, WatermarkURL: o.WatermarkURL})
	case "audio":
		t.addAudio(wireAudio{
			ID: o.ID, URL: url, URLMP3: o.MP3URL, URLWAV: o.WAVURL,
			Duration: o.Duration, DurationMP3: o.MP3Duration, DurationWAV: o.WAVDuration,
		})
	default:
		t.addFile(o.Type, url)
		t.addFile(o.Type, o.WatermarkURL)
	}
}

func (t *Task) addFile(kind text, url link) {
	if url != "" {
		t.Files = append(t.Files, File{Type: string(kind), URL: string(url)})
	}
}

// medium is video, image or audio where the type says so: Kling's solutions have subbed_video, product_image and
// model_images (its API reference, 2026-09). The last one that the name has counts: an image_to_video is a video.
func (o *wireOutput) medium() string {
	kind := strings.ToLower(string(o.Type))
	found, at := "", -1
	for _, medium := range []string{"video", "image", "audio"} {
		if i := strings.LastIndex(kind, medium); i > at {
			found, at = medium, i
		}
	}
	if found == "" && (o.MP3URL != "" || o.WAVURL != "") {
		return "audio"
	}
	return found
}
