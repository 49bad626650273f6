package kling

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

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
		if c.ChargeType != "unit" && !c.nothing() {
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

// nothing reports whether a row says that nothing was charged, of whatever type: a failed task had [{"amount":"0"}]
// (recorded 2026-09).
func (c wireCharge) nothing() bool {
	amount, err := strconv.ParseFloat(string(c.Amount), 64)
	return c.ChargeType == "" && err == nil && amount == 0 && decimal.MatchString(string(c.Amount))
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

// strict marks ids: an object without a readable one is of no use. See [readLoosely].
func (*ident) strict() {}

// state is a status. It is strict likewise.
type state text

// UnmarshalJSON takes a string, a number or null.
func (s *state) UnmarshalJSON(b []byte) error { return (*text)(s).UnmarshalJSON(b) }

func (*state) strict() {}

func (s state) status() Status {
	if s == "succeeded" {
		return StatusSucceed
	}
	return Status(s)
}

// link is a URL, to the byte. Null is the empty one.
type link text

// UnmarshalJSON takes a string or null.
func (l *link) UnmarshalJSON(b []byte) error {
	if b[0] != '"' && b[0] != 'n' {
		return fmt.Errorf("want a string, got %.16q", b)
	}
	return (*text)(l).UnmarshalJSON(b)
}

// links is a URL, or a list of them.
type links []link

// UnmarshalJSON takes what a link or a list of links is.
func (l *links) UnmarshalJSON(b []byte) error {
	if b[0] == '[' {
		return json.Unmarshal(b, (*[]link)(l))
	}
	one := make(links, 1)
	err := one[0].UnmarshalJSON(b)
	if *l = nil; one[0] != "" {
		*l = one
	}
	return err
}

const (
	// maxSeconds tells seconds, which some proxies give (recorded 2026-09), from milliseconds: as milliseconds it is in
	// 1973, as seconds in the year 5138.
	maxSeconds = 100_000_000_000
	// maxMillis is the end of the year 9998. What is reckoned from a time, such as when a result expires, is then within
	// the year 9999, the last that RFC 3339 can write.
	maxMillis = 253370764799999
)

// time reads Unix milliseconds, or seconds below 1e11. What is none is no time.
func (t text) time() time.Time {
	n, err := strconv.ParseInt(string(t), 10, 64)
	switch {
	case err != nil || n <= 0 || n > maxMillis:
		return time.Time{}
	case n < maxSeconds:
		return time.Unix(n, 0).UTC()
	default:
		return time.UnixMilli(n).UTC()
	}
}
