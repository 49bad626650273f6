package request

import "strings"

// HeaderSafe keeps a value from ending its header line: requests may carry anything in their JSON.
func HeaderSafe(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\r' || r == '\n' || r == 0 {
			return ' '
		}
		return r
	}, s)
}

// Clip shortens what a message quotes.
func Clip(s string) string { return ClipTo(s, 64) }

// ClipTo shortens a text to a number of bytes.
func ClipTo(s string, longest int) string {
	if len(s) <= longest {
		return s
	}
	return strings.ToValidUTF8(s[:longest], "") + "…"
}
