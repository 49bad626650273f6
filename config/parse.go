package config

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

// parsers replaces the library's own, whose errors are written for programmers.
func parsers() map[reflect.Type]env.ParserFunc {
	return map[reflect.Type]env.ParserFunc{
		reflect.TypeFor[time.Duration](): func(v string) (any, error) { return ParseDuration(v) },
		reflect.TypeFor[bool]():          func(v string) (any, error) { return parseBool(v) },
		reflect.TypeFor[int]():           func(v string) (any, error) { return parseNumber[int](v) },
		reflect.TypeFor[int64]():         func(v string) (any, error) { return parseNumber[int64](v) },
	}
}

// maxSeconds is the longest time.Duration, about 292 years.
const maxSeconds = int64((1<<63 - 1) / time.Second)

// ParseDuration reads a duration as every variable takes it: as Go writes it, or in whole seconds.
func ParseDuration(v string) (time.Duration, error) {
	if seconds, err := strconv.ParseInt(v, 10, 64); err == nil && -maxSeconds <= seconds && seconds <= maxSeconds {
		return time.Duration(seconds) * time.Second, nil
	}
	d, err := time.ParseDuration(v)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration (want e.g. 300s or 5m)", v)
	}
	return d, nil
}

func parseBool(v string) (bool, error) {
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, fmt.Errorf("%q is neither true nor false", v)
	}
	return b, nil
}

func parseNumber[T int | int64](v string) (T, error) {
	n, err := strconv.ParseInt(v, 10, reflect.TypeFor[T]().Bits())
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number", v)
	}
	return T(n), nil
}

// bucketPattern is the name of a bucket of the NATS Object Store, with * for any characters.
var bucketPattern = regexp.MustCompile(`^[A-Za-z0-9_*-]+$`)

// Buckets is a list of names of buckets, each with * for any characters.
type Buckets []string

// UnmarshalText implements [encoding.TextUnmarshaler] for a list such as kling-inputs,team-*.
func (b *Buckets) UnmarshalText(text []byte) error {
	var list Buckets
	for item := range strings.SplitSeq(string(text), ",") {
		item = strings.TrimSpace(item)
		if !bucketPattern.MatchString(item) {
			return fmt.Errorf("%q is not the name of a bucket (want letters, digits, _ and -, with * for any of them)", item)
		}
		list = append(list, item)
	}
	*b = list
	return nil
}

// Concurrency is the upper bound on tasks in flight, by pool.
type Concurrency map[string]int

// UnmarshalText implements [encoding.TextUnmarshaler] for a list such as video=20,image=9.
func (c *Concurrency) UnmarshalText(text []byte) error {
	caps := Concurrency{}
	for item := range strings.SplitSeq(string(text), ",") {
		pool, number, ok := strings.Cut(strings.TrimSpace(item), "=")
		n, err := strconv.Atoi(number)
		if !ok || pool == "" || err != nil || n < 1 {
			return fmt.Errorf("%q is not a pool and a number above 0 (want e.g. video=20,image=9)", item)
		}
		if _, twice := caps[pool]; twice {
			return fmt.Errorf("pool %q is named twice", pool)
		}
		caps[pool] = n
	}
	*c = caps
	return nil
}

// HostNames is a comma-separated list of host names without ports.
type HostNames []string

var plainHost = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$`)

// UnmarshalText implements [encoding.TextUnmarshaler].
func (n *HostNames) UnmarshalText(text []byte) error {
	for item := range strings.SplitSeq(string(text), ",") {
		item = strings.TrimSpace(item)
		if !plainHost.MatchString(item) {
			return fmt.Errorf("%q is not a host name (want e.g. bridge.example.com, without a port)", item)
		}
		*n = append(*n, item)
	}
	return nil
}
