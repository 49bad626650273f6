package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestLogger(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		level, format string
		want          string
	}{
		"json where no terminal is": {"info", "", `"level":"INFO","msg":"done","after":"1.5s"}`},
		"text":                      {"info", "text", `level=INFO msg=done after=1.5s`},
		"below the level":           {"warn", "json", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var buf bytes.Buffer
			newLogger(&buf, test.level, test.format).Info("done", "after", 1500*time.Millisecond)
			if !strings.Contains(buf.String(), test.want) || (buf.Len() == 0) != (test.want == "") {
				t.Errorf("logged %q, want %q", &buf, test.want)
			}
		})
	}
}
