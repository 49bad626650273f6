package kling

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"
)

// Status is the state of a task, as Kling spells it. One that is not listed here is passed on as it came.
type Status string

// The statuses Kling documents (its callback protocol page, 2026-10).
const (
	StatusSubmitted  Status = "submitted"
	StatusProcessing Status = "processing"
	StatusSucceed    Status = "succeed" // the newer API's "succeeded" is normalised to it
	StatusFailed     Status = "failed"
)

// Terminal reports whether a task of this status has ended. One of an unknown status has not.
func (s Status) Terminal() bool { return s == StatusSucceed || s == StatusFailed }

// Known reports whether this is one of the documented statuses.
func (s Status) Known() bool { return s.Terminal() || s == StatusSubmitted || s == StatusProcessing }

// Task is what Kling says of a task, in any API generation. Optional parts that Kling left out are zero.
type Task struct {
	ID         string // an opaque string; mostly 18 digits
	ExternalID string // the caller's own id, where Kling echoes it
	Status     Status
	Message    string // why a task failed: task_status_msg (v1) or message (v2)
	CreatedAt  time.Time
	UpdatedAt  time.Time // result URLs die 30 days after it
	Videos     []Video
	Images     []Image
	Audios     []Audio
	Files      []File   // outputs of other types that have a URL
	Assets     int      // how many voices and elements were made: they are no files, Raw has them
	Odd        []string // fields of a type that Kling never sends there: they count as absent, Raw has them
	// Units is what the task cost, a decimal string: final_unit_deduction (v1) as sent, or the exact sum of the unit rows
	// of billing (v2). A row of 0 without a charge_type, as failed tasks have it (recorded 2026-09), is one of them.
	Units string
	Raw   json.RawMessage // the task object exactly as Kling sent it
}

// Video is one video of a result.
type Video struct {
	ID           string // good for other calls, such as lip sync, for 30 days
	URL          string
	Duration     string // in seconds, as sent
	WatermarkURL string
}

// Image is one image of a result. Each of url_1, url_2, … of a multi-shot image is one.
type Image struct {
	Index        int // as sent, else the position in the list
	URL          string
	WatermarkURL string
}

// Audio is one audio of a result.
type Audio struct {
	ID       string
	URLMP3   string
	URLWAV   string
	Duration string // in seconds, as sent: the mp3's, else the wav's
}

// File is an output of a type that is neither video, image nor audio, such as srt.
type File struct {
	Type string // as sent
	URL  string
}

// HasResult reports whether a task brought anything along that its requester could use: a URL, a voice or an element. A
// success without any may be one whose body was cut on its way.
func (t Task) HasResult() bool {
	return t.Assets > 0 || len(t.Files) > 0 ||
		slices.ContainsFunc(t.Videos, func(v Video) bool { return v.URL != "" }) ||
		slices.ContainsFunc(t.Images, func(i Image) bool { return i.URL != "" }) ||
		slices.ContainsFunc(t.Audios, func(a Audio) bool { return a.URLMP3 != "" || a.URLWAV != "" })
}

// ErrMalformed says that a text is not what Kling sends: not UTF-8, not one JSON object, or an id or a status of an
// impossible type.
var ErrMalformed = errors.New("malformed")

// ErrAmbiguous says that a callback names more than one task.
var ErrAmbiguous = errors.New("names more than one task")

// DecodeCallback reads the body of a callback: the bare task object that Kling documents, or one wrapped in
// {code, message, data}, of any API generation. Every part of it may be missing, null or odd ([Task.Odd]), numbers and
// strings may stand for each other, and a byte order mark may come first; an id keeps its spelling. [Task.Raw] shares the
// memory of body. The error is [ErrMalformed] or [ErrAmbiguous].
func DecodeCallback(body []byte) (Task, error) {
	task, err := decodeCallback(body)
	if errors.Is(err, ErrAmbiguous) {
		return Task{}, fmt.Errorf("decode callback: %w", err)
	}
	if err != nil {
		return Task{}, fmt.Errorf("decode callback: %w: %w", ErrMalformed, err)
	}
	return task, nil
}

// byteOrderMark is what some programs begin UTF-8 with; JSON has no place for it.
var byteOrderMark = []byte("\uFEFF")

func decodeCallback(body []byte) (Task, error) {
	if !utf8.Valid(body) {
		return Task{}, errors.New("not UTF-8")
	}
	body = trimSpace(bytes.TrimPrefix(body, byteOrderMark))
	if !isObject(body) {
		return Task{}, errors.New("not a JSON object")
	}
	outer, err := unwrap(body)
	if err != nil {
		return Task{}, err
	}
	if isObject(outer.Data.RawMessage) {
		task, err := decodeNamed(outer.Data.RawMessage, outer)
		if err != nil || !task.empty() {
			return task, err
		}
	}
	return decodeNamed(body, wrapper{})
}

// wrapper is what may be around a task. An id beside it must not be another's.
type wrapper struct {
	Data           data  `json:"data"`
	TaskID         ident `json:"task_id"`
	ExternalTaskID ident `json:"external_task_id"`
}

// data is a value that must not be given twice: other programs may take the other one.
type data struct{ json.RawMessage }

// UnmarshalJSON is called for each time that the value is given.
func (d *data) UnmarshalJSON(b []byte) error {
	if d.RawMessage != nil {
		return ErrAmbiguous
	}
	return d.RawMessage.UnmarshalJSON(b)
}

// unwrap returns what is in data and beside it, if there is such a field. Most callbacks have none and are read once
// only.
func unwrap(body []byte) (wrapper, error) {
	if !bytes.Contains(body, []byte(`"data"`)) {
		return wrapper{}, nil
	}
	var w wrapper // not the result, which would need memory in any case
	err := json.Unmarshal(body, &w)
	return w, err
}

// decodeNamed reads one task object that names one task, and the same as what is around it.
func decodeNamed(raw json.RawMessage, around wrapper) (Task, error) {
	w, odd, err := readTask(raw)
	if err != nil {
		return Task{}, err
	}
	task := w.task(raw)
	task.Odd = odd
	if w.contradicts() || differ(ident{text: text(task.ID)}, around.TaskID) ||
		differ(ident{text: text(task.ExternalID)}, around.ExternalTaskID) {
		return Task{}, ErrAmbiguous
	}
	return task, nil
}

// decodeTask reads one task object and keeps raw.
func decodeTask(raw json.RawMessage) (Task, error) {
	w, odd, err := readTask(raw)
	if err != nil {
		return Task{}, err
	}
	task := w.task(raw)
	task.Odd = odd
	return task, nil
}

// decodeTasks reads the data of an answer: a task, an array of tasks, or nothing. It returns all that can be read, and
// an error that is about the others.
func decodeTasks(data json.RawMessage) ([]Task, error) {
	data = trimSpace(data)
	if len(data) == 0 || data[0] != '[' {
		return appendTask(nil, data)
	}
	var rows []json.RawMessage
	if err := json.Unmarshal(data, &rows); err != nil {
		return nil, err
	}
	tasks := make([]Task, 0, len(rows))
	var errs []error
	for _, row := range rows {
		var err error
		if tasks, err = appendTask(tasks, row); err != nil {
			errs = append(errs, err)
		}
	}
	return tasks, errors.Join(errs...)
}

func appendTask(tasks []Task, data json.RawMessage) ([]Task, error) {
	if len(data) == 0 || string(data) == "null" {
		return tasks, nil
	}
	if !isObject(data) {
		return tasks, errors.New("a task is not a JSON object")
	}
	task, err := decodeTask(data)
	if err != nil || task.empty() {
		return tasks, err
	}
	if task.ID == "" {
		return tasks, errors.New("a task has no id")
	}
	return append(tasks, task), nil
}

// empty reports whether an object says nothing of a task.
func (t Task) empty() bool { return t.ID == "" && t.Status == "" }

func isObject(data []byte) bool { return len(data) > 0 && data[0] == '{' }

// trimSpace trims what JSON takes for white space.
func trimSpace(data []byte) []byte { return bytes.Trim(data, " \t\r\n") }
