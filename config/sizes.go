package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// sizeNames are what [StreamSizes] can bound.
var sizeNames = []string{"requests", "events", "dead", "settings", "inputs", "archive"}

// StreamSizes is the largest size in bytes of each stream or bucket that is named.
type StreamSizes map[string]int64

// UnmarshalText implements [encoding.TextUnmarshaler] for a list such as requests=256MiB,events=4GiB. Its error names
// everything that is wrong.
func (s *StreamSizes) UnmarshalText(text []byte) error {
	sizes := StreamSizes{}
	var problems []string
	for item := range strings.SplitSeq(string(text), ",") {
		name, size, _ := strings.Cut(strings.TrimSpace(item), "=")
		_, twice := sizes[name]
		n, err := ParseSize(size)
		switch {
		case !slices.Contains(sizeNames, name):
			problems = append(problems, fmt.Sprintf("%q names none of %s", item, strings.Join(sizeNames, ", ")))
		case err != nil:
			problems = append(problems, fmt.Sprintf("%s: %v", name, err))
		case twice:
			problems = append(problems, name+" is named twice")
		default:
			sizes[name] = n
		}
	}
	if len(problems) > 0 {
		return fmt.Errorf("%s", strings.Join(problems, "; "))
	}
	*s = sizes
	return nil
}

// sizeUnits are those of the nats command line, where K is 1024 too, and the decimal ones.
var sizeUnits = map[string]float64{
	"": 1, "B": 1,
	"K": 1 << 10, "KIB": 1 << 10, "KB": 1e3,
	"M": 1 << 20, "MIB": 1 << 20, "MB": 1e6,
	"G": 1 << 30, "GIB": 1 << 30, "GB": 1e9,
	"T": 1 << 40, "TIB": 1 << 40, "TB": 1e12,
}

// ParseSize reads a number of bytes above zero, with a unit or without: 1048576, 1MiB, 1.5 GiB, 500MB (decimal), 4G (as
// 4GiB).
func ParseSize(text string) (int64, error) {
	text = strings.TrimSpace(text)
	digits := len(text) - len(strings.TrimLeft(text, "0123456789."))
	number, err := strconv.ParseFloat(text[:digits], 64)
	unit, known := sizeUnits[strings.ToUpper(strings.TrimSpace(text[digits:]))]
	bytes := math.Floor(number * unit)
	if err != nil || !known || bytes < 1 || bytes >= math.MaxInt64 {
		return 0, fmt.Errorf("%q is not a size above 0 (want e.g. 256MiB, 4GiB or 1073741824)", text)
	}
	return int64(bytes), nil
}
