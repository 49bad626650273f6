package klingtest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits of Kling's API reference (2026-10).
const (
	maxImage  = 10 << 20 // bytes, of a v1 image
	maxImages = 9        // that one task makes
)

var externalID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// fields is a JSON object whose values are still spelled as the client spelled them. Unknown fields are no fault.
type fields map[string]json.RawMessage

// has reports whether the field says anything: Kling's own samples send "" for what is not set.
func (f fields) has(name string) bool {
	v := bytes.TrimSpace(f[name])
	return len(v) > 0 && string(v) != "null" && string(v) != `""`
}

// text returns the field's string, or "".
func (f fields) text(name string) string {
	var s string
	_ = json.Unmarshal(f[name], &s)
	return s
}

// object returns the field's object; a field that is none has no fields.
func (f fields) object(name string) fields {
	var o fields
	_ = json.Unmarshal(f[name], &o)
	return o
}

// list returns the field's array; a field that is none is empty.
func (f fields) list(name string) []json.RawMessage {
	var l []json.RawMessage
	_ = json.Unmarshal(f[name], &l)
	return l
}

// spelled returns the field as text whether it is a string or anything else: numbers come as both.
func (f fields) spelled(name string) string {
	if s := f.text(name); s != "" {
		return s
	}
	return string(bytes.TrimSpace(f[name]))
}

// rule says what is wrong with a body, or "". Its text is the message of a 1201.
type rule func(fields) string

// firstFault returns what the first rule that is broken says.
func firstFault(f fields, rules []rule) string {
	for _, broken := range rules {
		if message := broken(f); message != "" {
			return message
		}
	}
	return ""
}

func invalid(f fields, name string) string {
	return fmt.Sprintf("%s value '%s' is invalid", name, f.spelled(name))
}

func required(names ...string) rule {
	return func(f fields) string {
		for _, name := range names {
			if !f.has(name) {
				return name + " is required"
			}
		}
		return ""
	}
}

func anyOf(message string, names ...string) rule {
	return func(f fields) string {
		if !slices.ContainsFunc(names, f.has) {
			return message
		}
		return ""
	}
}

func exactlyOne(a, b string) rule {
	return func(f fields) string {
		if f.has(a) == f.has(b) {
			return "exactly one of " + a + " and " + b + " is required"
		}
		return ""
	}
}

// optional makes a rule of what must hold for a field that says anything.
func optional(name string, holds func(fields) bool) rule {
	return func(f fields) string {
		if f.has(name) && !holds(f) {
			return invalid(f, name)
		}
		return ""
	}
}

func oneOf(name string, values ...string) rule {
	return optional(name, func(f fields) bool { return slices.Contains(values, f.text(name)) })
}

// boolean takes "true" too, which is in official samples.
func boolean(name string) rule {
	return optional(name, func(f fields) bool { return f.spelled(name) == "true" || f.spelled(name) == "false" })
}

// text takes strings of at most limit characters.
func text(name string, limit int) rule {
	return func(f fields) string {
		var s string
		switch {
		case !f.has(name):
			return ""
		case json.Unmarshal(f[name], &s) != nil:
			return invalid(f, name)
		case utf8.RuneCountInString(s) > limit:
			return fmt.Sprintf("%s is longer than %d characters", name, limit)
		default:
			return ""
		}
	}
}

func number(name string, low, high float64) rule {
	return optional(name, func(f fields) bool {
		var x float64
		return json.Unmarshal(f[name], &x) == nil && x >= low && x <= high
	})
}

// count takes a whole number of images from low, or a string of one as in some official samples.
func count(name string, low int) rule {
	return optional(name, func(f fields) bool {
		n, err := strconv.Atoi(f.spelled(name))
		return err == nil && n >= low && n <= maxImages
	})
}

// secondsText is v1's duration: a string, of whole seconds.
func secondsText(name string, low, high int) rule {
	return optional(name, func(f fields) bool {
		n, err := strconv.Atoi(f.text(name))
		return err == nil && n >= low && n <= high
	})
}

// secondsInt is v2's duration: an integer of any size, as a string too (live probes, 2026-09).
func secondsInt(name string) rule {
	return optional(name, func(f fields) bool {
		x, err := strconv.ParseFloat(f.spelled(name), 64)
		return err == nil && x == math.Trunc(x)
	})
}

// lowerCase takes words in lower case: 720P was refused where 720p is taken (a live probe, 2026-09).
func lowerCase(name string) rule {
	return optional(name, func(f fields) bool { return f.text(name) != "" && f.text(name) == strings.ToLower(f.text(name)) })
}

func within(name string, rules ...rule) rule {
	return func(f fields) string {
		if !f.has(name) {
			return ""
		}
		o := f.object(name)
		if o == nil {
			return name + " is not an object"
		}
		return firstFault(o, rules)
	}
}

// items takes an array of objects.
func items(name string, low, high int, rules ...rule) rule {
	return func(f fields) string {
		if !f.has(name) {
			return ""
		}
		var list []fields
		if json.Unmarshal(f[name], &list) != nil || len(list) < low || len(list) > high {
			return fmt.Sprintf("%s must have %d to %d objects", name, low, high)
		}
		for _, item := range list {
			if message := firstFault(item, rules); message != "" {
				return message
			}
		}
		return ""
	}
}

// image takes a URL, or base64 without a data: prefix.
func image(name string) rule {
	return func(f fields) string {
		if !f.has(name) {
			return ""
		}
		s := f.text(name)
		if isURL(s) {
			return ""
		}
		if _, err := base64.StdEncoding.DecodeString(s); err != nil || s == "" {
			return "File is not in a valid base64 format" // recorded
		}
		if base64.StdEncoding.DecodedLen(len(s)) > maxImage {
			return fmt.Sprintf("%s is larger than %d bytes", name, maxImage)
		}
		return ""
	}
}

func isURL(s string) bool {
	if !strings.HasPrefix(s, "http://") && !strings.HasPrefix(s, "https://") {
		return false // among others the megabytes of base64
	}
	u, err := url.Parse(s)
	return err == nil && u.Host != ""
}

// checkPlacement notes fields that Kling silently ignores where they are, and ids that may not survive it.
func (s *Server) checkPlacement(c call, body, options fields, id string) {
	misplaced := func(f fields, where string, names ...string) {
		for _, name := range names {
			if f.has(name) {
				s.violate("create %s: %s%s is ignored there", c.kind.Name, where, name)
			}
		}
	}
	if c.kind.Generation.NestsOptions() {
		misplaced(body, "", "callback_url", "external_task_id", "model") // a live probe, 2026-09
	} else {
		misplaced(body.object("options"), "options.", "callback_url", "external_task_id")
	}
	if !options.has("external_task_id") {
		return
	}
	if !externalID.MatchString(id) || strings.Trim(id, "0123456789") == "" {
		s.violate("create %s: external_task_id %q may be cut, split or taken for a task id", c.kind.Name, id)
	}
}
