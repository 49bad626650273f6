package events

import (
	"encoding/json"
	"fmt"
	"time"
)

// Status is the state of a request. Kling's spelling "succeed" stays; the newer API's "succeeded" is normalised to it.
type Status string

// The statuses. Submitted, processing and retrying are progress, the others end a request.
const (
	StatusSubmitted  Status = "submitted"  // the task exists at Kling
	StatusProcessing Status = "processing" // Kling works on it
	StatusRetrying   Status = "retrying"   // Kling failed a task, and it is made again: once for each failed one
	StatusSucceed    Status = "succeed"    // Kling delivered a result
	StatusFailed     Status = "failed"     // Kling reported the task as failed
	StatusRejected   Status = "rejected"   // the request never became a task
	StatusExpired    Status = "expired"    // its deadline passed first
	StatusCancelled  Status = "cancelled"  // cancelled before a task existed
)

// Terminal reports whether no other status follows.
func (s Status) Terminal() bool {
	switch s {
	case StatusSucceed, StatusFailed, StatusRejected, StatusExpired, StatusCancelled:
		return true
	default:
		return false
	}
}

// Source says how the bridge came to know what an event reports.
type Source string

// The sources.
const (
	SourceCallback Source = "callback" // Kling called back
	SourcePoll     Source = "poll"     // the bridge asked Kling
	SourceBridge   Source = "bridge"   // the bridge itself decided: submitted, rejected, expired, cancelled
)

// ErrorClass says what went wrong in one word.
type ErrorClass string

// The error classes.
const (
	ErrorInvalid    ErrorClass = "invalid"    // the request itself
	ErrorPolicy     ErrorClass = "policy"     // content was refused, at once or as a failed task
	ErrorAuth       ErrorClass = "auth"       // the bridge's credentials
	ErrorAccount    ErrorClass = "account"    // the bridge's account
	ErrorCapacity   ErrorClass = "capacity"   // no slot at Kling
	ErrorPermission ErrorClass = "permission" // the account may not use this API or model
	ErrorKling      ErrorClass = "kling"      // Kling failed the task
	ErrorExpired    ErrorClass = "expired"    // the deadline passed
	ErrorCancelled  ErrorClass = "cancelled"  // somebody cancelled the request
	ErrorInput      ErrorClass = "input"      // an object or file the request names could not be read
)

// Event is the JSON body of every progress, completion and late event. Fields without omitempty are always present.
type Event struct {
	RequestID      string            `json:"request_id"`
	Kind           string            `json:"kind"`
	Status         Status            `json:"status"`
	Source         Source            `json:"source"`
	TaskID         string            `json:"task_id,omitempty"`
	ExternalTaskID string            `json:"external_task_id,omitempty"`
	Account        string            `json:"account,omitempty"` // at Kling, that has the task or was asked for one
	Message        string            `json:"message"`
	Result         *Result           `json:"result,omitempty"` // when Status is succeed
	Error          *Error            `json:"error,omitempty"`  // on a completion exactly when Status is not succeed
	Units          string            `json:"units,omitempty"`  // a decimal string, as Kling deducted it; at the end that of all tries
	Tries          []Try             `json:"tries,omitempty"`  // the tasks before this one that Kling failed, in their order
	RequestedAt    Time              `json:"requested_at"`
	SubmittedAt    *Time             `json:"submitted_at,omitempty"`
	CompletedAt    *Time             `json:"completed_at,omitempty"` // on a completion always
	PublishedAt    Time              `json:"published_at"`
	Metadata       map[string]string `json:"metadata"`
	ReplayOf       string            `json:"replay_of,omitempty"`     // the request id this one replays
	Kling          json.RawMessage   `json:"kling,omitempty"`         // the task object exactly as Kling sent it
	KlingOmitted   bool              `json:"kling_omitted,omitempty"` // true: Kling was left out to fit max_payload
}

// Err returns nil unless the event ends its request other than by success. The error wraps an [*Error], which
// [errors.As] finds.
func (ev Event) Err() error {
	if ev.Status == StatusSucceed || !ev.Status.Terminal() {
		return nil
	}
	reason := ev.Error
	if reason == nil { // no completion is without one
		reason = &Error{Class: ErrorKling, Message: ev.Message}
	}
	return fmt.Errorf("request %q %s: %w", ev.RequestID, ev.Status, reason)
}

// Try is a task that Kling has failed and that was made again.
type Try struct {
	TaskID         string `json:"task_id"`
	ExternalTaskID string `json:"external_task_id"`
	Account        string `json:"account"`
	Message        string `json:"message"`         // Kling's explanation, clipped
	Units          string `json:"units,omitempty"` // a decimal string, as Kling deducted it
	FailedAt       Time   `json:"failed_at"`       // when the bridge heard of it
}

// Result is what Kling made. The four lists are always present, possibly empty; URLs are byte-exact.
type Result struct {
	Videos    []Video `json:"videos"`
	Images    []Image `json:"images"`
	Audios    []Audio `json:"audios"`
	Files     []File  `json:"files"`
	ExpiresAt Time    `json:"expires_at"` // 30 days after Kling's update time, when the URLs die
}

// Video is one video of a result.
type Video struct {
	ID              string      `json:"id"`
	URL             string      `json:"url"`
	DurationSeconds json.Number `json:"duration_seconds"` // "0" where Kling gives none
	WatermarkURL    string      `json:"watermark_url"`    // empty unless asked for
}

// Image is one image of a result.
type Image struct {
	Index        int    `json:"index"`
	URL          string `json:"url"`
	WatermarkURL string `json:"watermark_url"` // empty unless asked for
}

// Audio is one audio of a result.
type Audio struct {
	ID              string      `json:"id"`
	URLMP3          string      `json:"url_mp3"`
	URLWAV          string      `json:"url_wav"`
	DurationSeconds json.Number `json:"duration_seconds"` // the mp3's, else the wav's, else "0"
}

// File is an output of another type, such as the subtitles of a video.
type File struct {
	Type string `json:"type"` // as Kling calls it, such as srt; empty where it does not
	URL  string `json:"url"`
}

// UnmarshalJSON implements [json.Unmarshaler]. Results that were stored before there were files have an empty list of
// them.
func (r *Result) UnmarshalJSON(b []byte) error {
	type plain Result // without this method
	if err := json.Unmarshal(b, (*plain)(r)); err != nil {
		return err
	}
	if r.Files == nil {
		r.Files = []File{}
	}
	return nil
}

// Error says why a request did not succeed.
type Error struct {
	Class      ErrorClass `json:"class"`
	Code       int        `json:"code"`        // Kling's, 0 where Kling gave none
	HTTPStatus int        `json:"http_status"` // of Kling's answer, 0 where Kling was not asked
	Message    string     `json:"message"`
	Retryable  bool       `json:"retryable"` // whether the same request could succeed later
}

// Error makes an Error usable as a Go error.
func (e *Error) Error() string {
	if e.Code != 0 {
		return fmt.Sprintf("%s: %s (code %d, HTTP %d)", e.Class, e.Message, e.Code, e.HTTPStatus)
	}
	return fmt.Sprintf("%s: %s", e.Class, e.Message)
}

// timeLayout is RFC 3339 in UTC with milliseconds.
const timeLayout = "2006-01-02T15:04:05.000Z"

// Time is an instant on the wire: RFC 3339, UTC, milliseconds.
type Time struct{ time.Time }

// At returns t as it is written on the wire.
func At(t time.Time) Time { return Time{t.UTC().Truncate(time.Millisecond)} }

// String returns the wire form.
func (t Time) String() string {
	var few [len(timeLayout)]byte
	return string(t.appendWire(few[:0]))
}

// AppendText implements [encoding.TextAppender]: it appends the wire form. The error is always nil.
func (t Time) AppendText(dst []byte) ([]byte, error) { return t.appendWire(dst), nil }

// appendWire does what AppendFormat does with the layout in a third of its time: package time is fast with seconds.
func (t Time) appendWire(dst []byte) []byte {
	utc := t.UTC()
	dst = utc.AppendFormat(dst, time.RFC3339)
	dst = dst[:len(dst)-len("Z")]
	ms := utc.Nanosecond() / int(time.Millisecond)
	return append(dst, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
}

// MarshalText implements [encoding.TextMarshaler] with the wire form.
func (t Time) MarshalText() ([]byte, error) { return t.appendWire(nil), nil }

// MarshalJSON implements [json.Marshaler].
func (t Time) MarshalJSON() ([]byte, error) { return []byte(`"` + t.String() + `"`), nil }

// UnmarshalJSON implements [json.Unmarshaler]; it takes any RFC 3339 time.
func (t *Time) UnmarshalJSON(b []byte) error {
	var parsed time.Time
	if err := json.Unmarshal(b, &parsed); err != nil {
		return err
	}
	*t = At(parsed)
	return nil
}
