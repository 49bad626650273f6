package kling

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Action is what a failure asks of the caller.
type Action string

// The actions.
const (
	// ActionRetry: nothing was created, or a query was not answered. Try again after a wait.
	ActionRetry Action = "retry"
	// ActionWait: nothing was created, all slots of the pool are taken. Try again when one frees.
	ActionWait Action = "wait"
	// ActionPause: nothing was created, and nothing will be until a person mends the credentials, the account or the host.
	ActionPause Action = "pause"
	// ActionReject: nothing was created, and the same request will always fare so.
	ActionReject Action = "reject"
	// ActionLookup: a task may have been created. Look it up by its external id before anything is sent again. Of a
	// [SyncCall]: Kling may have done it, and nobody can find out.
	ActionLookup Action = "lookup"
)

// Class says in one word what went wrong.
type Class string

// The classes.
const (
	ClassInvalid    Class = "invalid"    // the request
	ClassPolicy     Class = "policy"     // its content
	ClassAuth       Class = "auth"       // the credentials
	ClassAccount    Class = "account"    // the account
	ClassCapacity   Class = "capacity"   // too many requests or tasks
	ClassPermission Class = "permission" // the account may not use this API or model
	ClassKling      Class = "kling"      // Kling, or the way to it
)

// Error is how every call of [Client] fails.
type Error struct {
	Op   string // create, query, query external, query tasks, list, list recent, check credentials, or the name of a SyncCall
	Kind string // empty where the call is about no one kind

	Action Action
	Class  Class
	// AccountWide says of an [ActionPause] that it concerns every pool of the API generation, not only that of the kind.
	AccountWide bool
	// NotFound says of a query that Kling answered that it has no such task. One that was just created may be found later.
	NotFound bool
	// Foreign says that the answer was not Kling's but that of something before it: a page, another vendor's JSON, a
	// redirect. It is no verdict on the request. Message has the page's title or the error's text. With [ActionPause] it
	// concerns the kind; whether it concerns more is unknown. What gateways answer in passing, 429 and 5xx, is not
	// called foreign.
	Foreign bool
	// Exists says of a create call that Kling knows a task with the same external id (recorded 2026-09: such ids are
	// unique in an account, and the refused call makes nothing). Look that task up.
	Exists bool

	Code       int    // Kling's, 0 where it gave none
	HTTPStatus int    // 0 where there was no answer
	Message    string // Kling's; one line of at most 512 bytes
	RequestID  string // Kling's id of this call, for its support
	Err        error  // the cause, where it is not Kling's answer
}

// IsNotFound reports whether Kling has answered that it has no such task. One that was just created may be found later.
func IsNotFound(err error) bool {
	failure, ok := errors.AsType[*Error](err)
	return ok && failure.NotFound
}

// Error says what was being done and what came of it. It never holds credentials.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("kling: " + e.Op)
	if e.Kind != "" {
		b.WriteString(" " + e.Kind)
	}
	if e.HTTPStatus != 0 {
		fmt.Fprintf(&b, ": HTTP %d", e.HTTPStatus)
	}
	if e.Code != 0 {
		fmt.Fprintf(&b, ", code %d", e.Code)
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	if e.RequestID != "" {
		b.WriteString(" (request_id " + e.RequestID + ")")
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Retryable reports whether the same request could succeed later.
func (e *Error) Retryable() bool { return e.Action != ActionReject }

// verdict is what a code or a status means.
type verdict struct {
	action      Action
	class       Class
	accountWide bool
}

// Kling's codes that this package itself looks at.
const (
	codeBadValue = 1201
	codeMissing  = 1203
)

// judgeCode is the table of Kling's error code page (2026-10). It reports false for a code that is not on it.
//
// After a code of 5000 and more the task may exist: the only answer to a create is a reply, and this one says only that
// something broke on the way to it.
func judgeCode(code int) (verdict, bool) {
	v, known := verdicts[code]
	return v, known
}

// verdicts has Kling's error codes (its error code page, 2026-10).
var verdicts = map[int]verdict{
	1000:         {ActionPause, ClassAuth, everyPool},    // authentication failed
	1001:         {ActionPause, ClassAuth, everyPool},    // Authorization header empty
	1002:         {ActionPause, ClassAuth, everyPool},    // Authorization invalid: a wrong key, or one of another region
	1003:         {ActionPause, ClassAuth, everyPool},    // token not yet valid
	1004:         {ActionPause, ClassAuth, everyPool},    // token expired
	1100:         {ActionPause, ClassAccount, everyPool}, // account abnormal
	1101:         {ActionPause, ClassAccount, everyPool}, // in arrears
	1102:         {ActionPause, ClassAccount, false},     // resource pack used up or expired; packs are bought by pool
	1103:         {ActionReject, ClassPermission, false}, // no permission for this API or model
	1200:         {ActionReject, ClassInvalid, false},    // bad parameters
	codeBadValue: {ActionReject, ClassInvalid, false},    // bad key or value
	1202:         {ActionReject, ClassInvalid, false},    // wrong method
	codeMissing:  {ActionReject, ClassInvalid, false},    // no such resource, such as a model
	1300:         {ActionReject, ClassPolicy, false},     // platform policy
	1301:         {ActionReject, ClassPolicy, false},     // content safety
	1302:         {ActionRetry, ClassCapacity, false},    // too fast
	1303:         {ActionWait, ClassCapacity, false},     // concurrency over the limit of the pack
	1304:         {ActionPause, ClassAccount, everyPool}, // IP address not on the allow-list
	5000:         {ActionLookup, ClassKling, false},      // internal error, maintenance, internal timeout
	5001:         {ActionLookup, ClassKling, false},
	5002:         {ActionLookup, ClassKling, false},
}

const everyPool = true // what a pause is about

// judgeStatus is for answers of Kling's without a code that is known.
func judgeStatus(status, code int) verdict {
	switch {
	case status >= 500, code >= 5000, status == http.StatusRequestTimeout:
		return verdict{ActionLookup, ClassKling, false}
	case status >= 300 && status < 400:
		return verdict{ActionPause, ClassKling, false}
	case status == http.StatusUnauthorized:
		return verdict{ActionPause, ClassAuth, true}
	case status == http.StatusTooManyRequests:
		return verdict{ActionRetry, ClassCapacity, false}
	case status == http.StatusForbidden:
		return verdict{ActionReject, ClassPermission, false}
	default: // other 4xx, and 200 with an unknown code below 5000
		return verdict{ActionReject, ClassInvalid, false}
	}
}

// credentialCode reports whether Kling refused the token, which a freshly signed one may mend: a clock that jumped, or
// the refusals of valid signatures that developers have seen now and then.
func credentialCode(code int) bool { return code >= 1000 && code <= 1004 }

// refusal matches what Kling says when it refuses content, in either of its languages. There is no list of its messages:
// "Failure to pass the risk control system" is official, the rest is kept loose. The Chinese words: risk control, risk,
// sensitive, against the rules, review, pornographic, gory, copyright, infringement, content safety, safety check.
var refusal = regexp.MustCompile(`(?i)risk[ -]?control|polic(y|ies)|sensitive|violat|inappropriate|prohibited|` +
	`moderation|content (safety|security|review|audit)|safety (check|filter|system|review)|\bnsfw\b|not safe for work|` +
	`copyright|infring|intellectual property|` +
	`风控|风险|敏感|违规|违反|违禁|审核|色情|血腥|版权|侵权|内容安全|安全(检测|检查|审查|策略|规范)`)

// ClassifyFailure says why Kling failed a task: [ClassPolicy] when its message says so, loosely, else [ClassKling].
func ClassifyFailure(t Task) Class {
	if refusal.MatchString(t.Message) {
		return ClassPolicy
	}
	return ClassKling
}

const (
	maxMessage   = 512 // bytes
	maxRequestID = 64  // bytes
)

// line makes a text fit for a log and a header: valid UTF-8, one line, at most limit bytes.
func line(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
	s = strings.TrimSpace(s)
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
