package config

import (
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"strings"
)

const redacted = "[redacted]"

// Secret is a value that never shows: every fmt verb, slog, JSON and text encoding print [redacted] in its place.
// What needs the value asks for it by name with [Secret.Reveal].
type Secret string

// Reveal returns the value itself.
func (s Secret) Reveal() string { return string(s) }

// String returns [redacted].
func (s Secret) String() string { return redacted }

// Format implements [fmt.Formatter], so that not even %x or %#v shows the value.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue implements [slog.LogValuer].
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements [encoding.TextMarshaler], which JSON uses too.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// withTrimmedSecrets returns the environment with the white space around secrets taken away: files, consoles and
// here-documents add a newline that nobody sees. A blank secret is one that is not set.
func withTrimmedSecrets[T any](environ map[string]string, prefix string) map[string]string {
	trimmed := maps.Clone(environ)
	for field := range reflect.TypeFor[T]().Fields() {
		name := prefix + field.Tag.Get("env")
		value, set := environ[name]
		if set && (field.Type == reflect.TypeFor[Secret]() || field.Type == reflect.TypeFor[Secrets]()) {
			trimmed[name] = strings.TrimSpace(value)
		}
	}
	return trimmed
}

// Secrets is a comma-separated list of secrets.
type Secrets []Secret

// Reveal returns the values themselves.
func (s Secrets) Reveal() []string {
	values := make([]string, len(s))
	for i, secret := range s {
		values[i] = secret.Reveal()
	}
	return values
}

// UnmarshalText implements [encoding.TextUnmarshaler]. An empty item is an error, for it would be a secret that
// everybody knows.
func (s *Secrets) UnmarshalText(text []byte) error {
	for item := range strings.SplitSeq(string(text), ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			return fmt.Errorf("an item of the list is empty")
		}
		*s = append(*s, Secret(item))
	}
	return nil
}
