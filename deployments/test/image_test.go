package test

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestImagesAgree compares what the two Dockerfiles say of the image itself.
func TestImagesAgree(t *testing.T) {
	t.Parallel()
	built, released := instructions(t, "../docker/Dockerfile"), instructions(t, "../docker/release.Dockerfile")
	if len(built) < 8 || !slices.Equal(built, released) {
		t.Errorf("Dockerfile has\n%s\nrelease.Dockerfile\n%s", strings.Join(built, "\n"), strings.Join(released, "\n"))
	}
}

// instructions of the last stage, without how its files get there.
func instructions(t *testing.T, path string) []string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var last []string
	for line := range strings.Lines(string(raw)) {
		word, _, _ := strings.Cut(line, " ")
		switch word {
		case "FROM":
			last = []string{line}
		case "USER", "WORKDIR", "ENV", "VOLUME", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD":
			last = append(last, line)
		}
	}
	return last
}
