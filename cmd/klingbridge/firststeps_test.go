package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

// requestForms find requests in texts: the kind, and what follows it in the same statement.
func requestForms() []*regexp.Regexp {
	return []*regexp.Regexp{
		regexp.MustCompile(`(?:klingbridge|bridge) submit ([a-z0-9-]+)([^\n]*)`),          // a command line
		regexp.MustCompile(`kling\.request\.([a-z0-9-]+)(?:\.high|\.low)?["']? ([^\n]*)`), // a subject and a body
		regexp.MustCompile(`submit\(js, "([a-z0-9-]+)"([^\n]*)`),                          // the clients of the examples
		regexp.MustCompile(`body\.Raw\("([a-z0-9-]+)"([^\n]*)`),                           // package body
	}
}

// bodyInFile is a command line whose body is in a file, or comes on stdin.
var bodyInFile = regexp.MustCompile(`^ (?:[a-z]+\.jsonl?\b|- )`)

// typedForm is a body of package body.
var typedForm = regexp.MustCompile(`(?s)body\.(Text2Video|Image2Video)\{(.*?)\}`)

// requestsWithoutModel returns the requests in a text that name no model_name, though their kind takes one.
func requestsWithoutModel(text string) []string {
	text = strings.NewReplacer("\\\n#", "", "\\\n", "").Replace(text) // lines that go on
	var found []string
	for _, form := range requestForms() {
		for _, m := range form.FindAllStringSubmatch(text, -1) {
			kind, _ := kling.DefaultKinds().Lookup(m[1])
			_, takes := kind.ModelName()
			hasBody := strings.Contains(m[2], "{") || strings.Contains(m[2], "--")
			if takes && hasBody && !bodyInFile.MatchString(m[2]) && !strings.Contains(m[2], "model_name") {
				found = append(found, m[0])
			}
		}
	}
	for _, m := range typedForm.FindAllStringSubmatch(text, -1) {
		if !strings.Contains(m[2], "ModelName:") {
			found = append(found, m[0])
		}
	}
	return found
}

// TestFirstStepsNameAModel reads what people copy from: the README, the examples, the hints of the commands and the
// documentation of package events. The documented default of text2video and image2video was found discontinued on
// 2026-09-28.
func TestFirstStepsNameAModel(t *testing.T) {
	t.Parallel()
	for _, wrong := range []string{
		`klingbridge submit text2video --prompt "a" --wait`,
		"run --rm bridge submit text2video \\\n#     --prompt a",
		`nats req kling.request.image2video '{"prompt":"a"}'`,
		`await submit(js, "image-generations", id, {"prompt": prompt})`,
		`client.Submit(ctx, body.Text2Video{Prompt: "a"}, events.Options{})`,
	} {
		if requestsWithoutModel(wrong) == nil {
			t.Errorf("%s is not noticed", wrong)
		}
	}
	read := 0
	for _, root := range []string{"../../README.md", "../../deployments", "../../events", "."} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			test := strings.HasSuffix(path, "_test.go") && !strings.HasSuffix(path, "example_test.go")
			if err != nil || entry.IsDir() || test || strings.Contains(path, "node_modules") {
				return err
			}
			raw, err := os.ReadFile(path)
			for _, request := range requestsWithoutModel(string(raw)) {
				t.Errorf("%s: %s", path, request)
			}
			read++
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if read < 50 {
		t.Errorf("only %d files were read", read)
	}
}

// TestDocumentsListTheKinds holds the page of requests and the AsyncAPI document to the table of kinds.
func TestDocumentsListTheKinds(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../events/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, requests, _ := strings.Cut(string(readme), "\n## Requests\n")
	requests, _, _ = strings.Cut(requests, "\n## ")
	raw, err := os.ReadFile("../../events/asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Components struct {
			Parameters map[string]struct{ Examples []string }
		}
	}
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, kind := range kling.DefaultKinds().All() {
		names = append(names, kind.Name)
		if !strings.Contains(requests, "`"+kind.Name+"`") {
			t.Errorf("the page's section about requests does not name %s", kind.Name)
		}
	}
	if got := doc.Components.Parameters["kind"].Examples; !slices.Equal(got, names) {
		t.Errorf("the AsyncAPI document has the kinds %v, want %v", got, names)
	}
}
