package kling

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// wireTask has the fields of both generations; no task has all of them.
type wireTask struct {
	// v1 (Kling's callback protocol page, 2026-03)
	TaskID        ident `json:"task_id"`
	TaskStatus    text  `json:"task_status"`
	TaskStatusMsg text  `json:"task_status_msg"`
	TaskInfo      struct {
		ExternalTaskID ident `json:"external_task_id"`
	} `json:"task_info"`
	// Not where Kling puts it, but an id given here by anybody must not contradict either.
	ExternalTaskID ident `json:"external_task_id"`

	TaskResult struct {
		Videos       []wireVideo `json:"videos"`
		Images       []wireImage `json:"images"`
		SeriesImages []wireImage `json:"series_images"`
		Audios       []wireAudio `json:"audios"`
	} `json:"task_result"`
	CreatedAt          text `json:"created_at"`
	UpdatedAt          text `json:"updated_at"`
	FinalUnitDeduction text `json:"final_unit_deduction"`

	// v2 (the same page, 2026-10)
	ID         ident        `json:"id"`
	Status     text         `json:"status"`
	Message    text         `json:"message"`
	ExternalID ident        `json:"external_id"`
	Outputs    []wireOutput `json:"outputs"`
	Billing    []wireCharge `json:"billing"`
	CreateTime text         `json:"create_time"`
	UpdateTime text         `json:"update_time"`
}

type wireVideo struct {
	ID           text `json:"id"`
	URL          text `json:"url"`
	Duration     text `json:"duration"`
	WatermarkURL text `json:"watermark_url"`
}

// wireImage is an image, or several: a multi-shot image has url_1, url_2, … in place of url.
type wireImage struct {
	Index        text   `json:"index"`
	URL          text   `json:"url"`
	WatermarkURL text   `json:"watermark_url"`
	Shots        []text `json:"-"`
}

// wireAudio comes as {id, url_mp3, url_wav, …} and, of text to speech, as {id, url, duration}.
type wireAudio struct {
	ID          text `json:"id"`
	URL         text `json:"url"`
	URLMP3      text `json:"url_mp3"`
	URLWAV      text `json:"url_wav"`
	Duration    text `json:"duration"`
	DurationMP3 text `json:"duration_mp3"`
	DurationWAV text `json:"duration_wav"`
}

// wireOutput is one result of a v2 task. Voices and elements have no files and stay in Task.Raw.
type wireOutput struct {
	Type         text `json:"type"`
	ID           text `json:"id"`
	URL          text `json:"url"`
	MP3URL       text `json:"mp3_url"`
	WAVURL       text `json:"wav_url"`
	Duration     text `json:"duration"`
	MP3Duration  text `json:"mp3_duration"`
	WAVDuration  text `json:"wav_duration"`
	WatermarkURL text `json:"watermark_url"`
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
	for _, o := range w.Outputs {
		t.addOutput(o)
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
	if v.ID == "" && v.URL == "" {
		return
	}
	t.Videos = append(t.Videos, Video{
		ID: string(v.ID), URL: string(v.URL), Duration: string(v.Duration), WatermarkURL: string(v.WatermarkURL),
	})
}

func (t *Task) addImage(w wireImage) {
	if w.URL != "" {
		index, err := strconv.Atoi(string(w.Index))
		if err != nil || index < 0 {
			index = len(t.Images)
		}
		t.Images = append(t.Images, Image{Index: index, URL: string(w.URL), WatermarkURL: string(w.WatermarkURL)})
	}
	for _, url := range w.Shots {
		t.Images = append(t.Images, Image{Index: len(t.Images), URL: string(url)})
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

func (t *Task) addOutput(o wireOutput) {
	switch o.Type {
	case "video":
		t.addVideo(wireVideo{ID: o.ID, URL: o.URL, Duration: o.Duration, WatermarkURL: o.WatermarkURL})
	case "image":
		t.addImage(wireImage{URL: o.URL, WatermarkURL: o.WatermarkURL})
	case "audio":
		t.addAudio(wireAudio{
			ID: o.ID, URL: o.URL, URLMP3: o.MP3URL, URLWAV: o.WAVURL,
			Duration: o.Duration, DurationMP3: o.MP3Duration, DurationWAV: o.WAVDuration,
		})
	}
}

// UnmarshalJSON collects url_1, url_2, … of an image that has no url.
func (w *wireImage) UnmarshalJSON(b []byte) error {
	type plain wireImage // without this method
	if err := json.Unmarshal(b, (*plain)(w)); err != nil {
		return err
	}
	if w.URL != "" || !bytes.Contains(b, []byte(`"url_1"`)) {
		return nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(b, &fields); err != nil {
		return err
	}
	for n := 1; ; n++ {
		raw, ok := fields["url_"+strconv.Itoa(n)]
		if !ok {
			return nil
		}
		var url text
		if err := json.Unmarshal(raw, &url); err != nil {
			return err
		}
		if url != "" {
			w.Shots = append(w.Shots, url)
		}
	}
}

// decimal bounds what is added up: an exponent would let a short text stand for a number of any size.
var decimal = regexp.MustCompile(`^-?[0-9]{1,30}(\.[0-9]{1,30})?$`)

// units is a deduction as sent, or empty where it is none.
func (t text) units() string {
	if !decimal.MatchString(string(t)) || t[0] == '-' {
		return ""
	}
	return string(t)
}

// units adds up the unit rows of a bill, exactly. Without one, or with one that is no decimal number, it returns "".
func units(bill []wireCharge) string {
	var sum, amount big.Rat
	places, found := 0, false
	for _, c := range bill {
		if c.ChargeType != "unit" {
			continue
		}
		if !decimal.MatchString(string(c.Amount)) {
			return ""
		}
		amount.SetString(string(c.Amount))
		sum.Add(&sum, &amount)
		_, fraction, _ := strings.Cut(string(c.Amount), ".")
		places, found = max(places, len(fraction)), true
	}
	if !found || sum.Sign() < 0 {
		return ""
	}
	total := sum.FloatString(places) // exact: no row has more places
	if places > 0 {
		total = strings.TrimRight(strings.TrimRight(total, "0"), ".")
	}
	return total
}

// text is a string that may be sent as a number, whose spelling it keeps. Null is the empty string.
type text string

// UnmarshalJSON takes a string, a number or null.
func (t *text) UnmarshalJSON(b []byte) error {
	switch b[0] {
	case '"':
		if bytes.IndexByte(b, '\\') < 0 && utf8.Valid(b) { // as it is spelled: what most are
			*t = text(b[1 : len(b)-1])
			return nil
		}
		return json.Unmarshal(b, (*string)(t))
	case 'n':
		*t = ""
		return nil
	case '{', '[', 't', 'f':
		return fmt.Errorf("want a string or a number, got %.16q", b)
	default:
		*t = text(b)
		return nil
	}
}

// ident is an id that remembers whether it was given before with another value.
type ident struct {
	text
	twice bool
}

// UnmarshalJSON is called for each time that the id is given.
func (i *ident) UnmarshalJSON(b []byte) error {
	before := i.text
	err := i.text.UnmarshalJSON(b)
	i.twice = i.twice || before != "" && i.text != before
	return err
}

func (t text) status() Status {
	if t == "succeeded" {
		return StatusSucceed
	}
	return Status(t)
}

// maxMillis is the end of the year 9998. What is reckoned from a time, such as when a result expires, is then within the
// year 9999, the last that RFC 3339 can write.
const maxMillis = 253370764799999

// time reads Unix milliseconds. What is none is no time.
func (t text) time() time.Time {
	ms, err := strconv.ParseInt(string(t), 10, 64)
	if err != nil || ms <= 0 || ms > maxMillis {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
