package kling

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// envelope is around every answer of Kling's; errors come without data.
type envelope struct {
	code      int
	message   string
	requestID string
	data      json.RawMessage
}

var errNoEnvelope = errors.New("no envelope")

// openEnvelope reads an answer. It fails with errNoEnvelope where the answer is whole but not Kling's: a page, a list, or
// an object without a code that Kling could have given. Relays put words there, others an HTTP status.
func openEnvelope(body []byte) (envelope, error) {
	if e, ok := openPlainEnvelope(body); ok {
		return e, nil
	}
	return openAnyEnvelope(body)
}

// openAnyEnvelope is openEnvelope for whatever comes.
func openAnyEnvelope(body []byte) (envelope, error) {
	var fields struct {
		Code      json.RawMessage `json:"code"`
		Message   json.RawMessage `json:"message"`
		RequestID json.RawMessage `json:"request_id"`
		Data      json.RawMessage `json:"data"`
	}
	body = bytes.TrimPrefix(body, byteOrderMark)
	err := json.Unmarshal(bytes.ToValidUTF8(body, []byte("\uFFFD")), &fields)
	if err != nil && !isWhole(body) {
		return envelope{}, err
	}
	code, codeErr := strconv.Atoi(readText(fields.Code))
	if err != nil || codeErr != nil || code != 0 && code < lowestCode {
		return envelope{}, errNoEnvelope
	}
	return envelope{code, readText(fields.Message), readText(fields.RequestID), fields.Data}, nil
}

// openPlainEnvelope reads an answer that says yes, spelled as Kling does it. Its data shares the memory of body. Any other is for
// [openEnvelope] to judge.
func openPlainEnvelope(body []byte) (e envelope, ok bool) {
	var accepted bool
	ok = readMembers(body, func(name, value []byte) bool {
		var known bool
		switch string(name) {
		case "code":
			accepted, known = string(value) == "0", true
		case "message":
			e.message, known = plainScalar(value)
		case "request_id":
			e.requestID, known = plainScalar(value)
		case "data":
			e.data, known = value, true
		default:
			known = plainName(name)
		}
		return known
	})
	return e, ok && accepted
}

// plainScalar is what a string without escapes says, or a number as it is spelled.
func plainScalar(value []byte) (s string, ok bool) {
	switch c := value[0]; {
	case c == '"' && bytes.IndexByte(value, '\\') < 0:
		return string(value[1 : len(value)-1]), true
	case c == '-', c >= '0' && c <= '9':
		return string(value), true
	default:
		return "", false
	}
}

// lowestCode is the lowest of Kling's codes, but for 0 (its error code page, 2026-10).
const lowestCode = 1000

// isWhole tells what is no JSON object at all from one that has broken off, which Kling may have begun.
func isWhole(body []byte) bool {
	body = bytes.TrimSpace(body)
	return len(body) > 0 && (body[0] != '{' || json.Valid(body))
}

// readText is a member that should be a string or a number. Anything else is as good as absent.
func readText(raw json.RawMessage) string {
	var t text
	if len(raw) == 0 || json.Unmarshal(raw, &t) != nil {
		return ""
	}
	return string(t)
}

// read tells acceptance from refusal. Only 2xx with code 0 is acceptance: some clients have met refusals in a 200.
func (r request) read(status int, header http.Header, body []byte) (answer, *Error) {
	e, err := openEnvelope(body)
	a := answer{status: status, requestID: line(e.requestID, maxRequestID), data: e.data}
	accepted := status >= 200 && status <= 299
	switch {
	case err != nil && accepted && !errors.Is(err, errNoEnvelope):
		return answer{}, r.malformed(a, err)
	case err != nil:
		return answer{}, r.foreign(a, cmp.Or(foreignWords(body), redirectedTo(header)))
	case !accepted || e.code != 0:
		return answer{}, r.refused(a, e.code, e.message)
	default:
		return a, nil
	}
}

// refused is the failure of a call that Kling answered with a code or a status that is no success.
func (r request) refused(a answer, code int, message string) *Error {
	v, known := judgeCode(code)
	if !known {
		v = judgeStatus(a.status, code)
	}
	if code == codeBadValue && refusal.MatchString(message) {
		v.class = ClassPolicy // Kling's solution APIs refuse content with this code
	}
	failure := r.fail(v, nil)
	failure.HTTPStatus, failure.Code, failure.RequestID = a.status, code, a.requestID
	failure.Message = cmp.Or(message, http.StatusText(a.status))
	failure.Exists = r.op == opCreate && code == codeBadValue && reusedID.MatchString(message)
	return failure
}

// reusedID matches Kling's refusal of an external id it has seen: "External_task_id <id> already exists" (recorded
// 2026-09, in both generations).
var reusedID = regexp.MustCompile(`(?is)external_?task_?id\b.*\balready exists`)

// foreign is the failure of a call that something before Kling has answered.
//
// A refused create has made nothing, but that is no verdict on the request. One that was answered with a success may
// have come through. What gateways answer in passing, 5xx and 429, is what it is from Kling.
func (r request) foreign(a answer, words string) *Error {
	v, passing := judgeForeign(a.status)
	if !r.changes {
		v.action = ActionRetry // and never a proof that there is no such task
	}
	failure := r.fail(v, nil)
	failure.HTTPStatus, failure.Foreign = a.status, !passing
	failure.Message = cmp.Or(words, http.StatusText(a.status))
	if a.status < 300 {
		failure.Err = ErrMalformed
	}
	return failure
}

// judgeForeign is what a status means that somebody else than Kling gives. passing says that it is one that passes.
func judgeForeign(status int) (v verdict, passing bool) {
	switch {
	case status >= 500, status == http.StatusRequestTimeout:
		return verdict{ActionLookup, ClassKling, false}, true
	case status == http.StatusTooManyRequests:
		return verdict{ActionRetry, ClassCapacity, false}, true
	case status < 300:
		return verdict{ActionLookup, ClassKling, false}, false
	default:
		return verdict{ActionPause, ClassKling, false}, false
	}
}

// maxForeign is how many bytes of a page or of another vendor's JSON are searched for words.
const maxForeign = 64 << 10

var (
	pageTitle = regexp.MustCompile(`(?is)<title[^>]*>(.*?)</title>`)
	markup    = regexp.MustCompile(`(?s)^\s*(?:\xEF\xBB\xBF)?\s*<`)
)

// foreignWords is what an answer that is not Kling's says of itself: the title of a page, the error of another vendor's
// JSON, a plain text. Empty: it says nothing fit to be told.
func foreignWords(body []byte) string {
	body = bytes.ToValidUTF8(body[:min(len(body), maxForeign)], nil)
	if title := pageTitle.FindSubmatch(body); title != nil {
		return oneLine(html.UnescapeString(string(title[1])))
	}
	if markup.Match(body) {
		return ""
	}
	if json.Valid(body) {
		return oneLine(jsonWords(body))
	}
	return oneLine(string(body))
}

// jsonWords is the first text that another vendor's JSON says what is wrong with.
func jsonWords(raw json.RawMessage) string {
	if s := readText(raw); s != "" {
		return s
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil {
		return ""
	}
	for _, name := range []string{"error", "message", "msg", "detail", "title", "error_description", "type", "code"} {
		if words := jsonWords(fields[name]); words != "" {
			return words
		}
	}
	return ""
}

func oneLine(s string) string {
	return line(strings.Join(strings.Fields(s), " "), maxMessage)
}

// redirectedTo names the host that an answer sends its caller to. The rest of the address may be secret.
func redirectedTo(header http.Header) string {
	u, err := url.Parse(header.Get("Location"))
	if err != nil || u.Host == "" {
		return ""
	}
	return "redirect to " + u.Host
}
