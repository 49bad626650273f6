package main

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

const (
	top = "../.."
	// frontPage is read by whoever looks for the first time: it has an end.
	maxFrontPage = 12 << 10
)

var (
	pageLink    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	pageHeading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	pageCode    = regexp.MustCompile("(?s)```.*?```|`[^`]*`")
	commandLine = regexp.MustCompile("(?m)(?:^|[`(] ?|\\$ |-- )klingbridge ([a-z]+\\b(?: [a-z]+\\b)?)")
	makeTarget  = regexp.MustCompile("(?m)(?:^|`)make ([a-z][a-z0-9-]*)")
)

// readPages reads every page of the project, by its path.
func readPages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == ".git" || entry.Name() == "bin") {
			return fs.SkipDir
		}
		if err != nil || filepath.Ext(path) != ".md" {
			return err
		}
		raw, err := os.ReadFile(path)
		all[path] = string(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 15 {
		t.Fatalf("only %d pages were found", len(all))
	}
	return all
}

// anchor is what a heading is called in a link.
func anchor(heading string) string {
	kept := strings.Map(func(r rune) rune {
		if r == ' ' || r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' {
			return r
		}
		return -1
	}, strings.ToLower(heading))
	return strings.ReplaceAll(kept, " ", "-")
}

// missingLinks returns the relative links of a page that lead nowhere.
func missingLinks(all map[string]string, path string) (missing []string) {
	for _, match := range pageLink.FindAllStringSubmatch(all[path], -1) {
		target, fragment, _ := strings.Cut(match[1], "#")
		if strings.Contains(target, "://") {
			continue
		}
		file := path
		if target != "" {
			file = filepath.Join(filepath.Dir(path), target)
		}
		if _, err := os.Stat(file); err != nil {
			missing = append(missing, match[1])
			continue
		}
		found := fragment == ""
		for _, heading := range pageHeading.FindAllStringSubmatch(all[file], -1) {
			found = found || anchor(heading[1]) == fragment
		}
		if !found {
			missing = append(missing, match[1])
		}
	}
	return missing
}

// unknownCommands returns what a text calls a command of the program and is none.
func unknownCommands(root *cobra.Command, text string) (unknown []string) {
	code := strings.Join(pageCode.FindAllString(text, -1), "\n")
	for _, match := range commandLine.FindAllStringSubmatch(code, -1) {
		words := strings.Fields(match[1])
		if words[0] == "help" || words[0] == "completion" {
			continue
		}
		cmd, rest, err := root.Find(words)
		if err != nil || cmd == root || cmd.HasSubCommands() && len(rest) > 0 {
			unknown = append(unknown, match[1])
		}
	}
	return unknown
}

func TestPages(t *testing.T) {
	t.Parallel()
	root := newProgram(nil, strings.NewReader(""), io.Discard, io.Discard).rootCommand()
	makefile, err := os.ReadFile(filepath.Join(top, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	all := readPages(t)
	commands := 0
	for path, text := range all {
		for _, link := range missingLinks(all, path) {
			t.Errorf("%s: the link to %s leads nowhere", path, link)
		}
		for _, command := range unknownCommands(root, text) {
			t.Errorf("%s: klingbridge %s is no command", path, command)
		}
		for _, match := range makeTarget.FindAllStringSubmatch(text, -1) {
			commands++
			if !strings.Contains(string(makefile), "\n"+match[1]+":") {
				t.Errorf("%s: make %s is no target", path, match[1])
			}
		}
	}
	if commands < 10 {
		t.Errorf("only %d targets were looked at", commands)
	}
	index := all[filepath.Join(top, "bridge/adr/README.md")]
	for path := range all {
		if filepath.Base(filepath.Dir(path)) == "adr" && !strings.Contains(index, filepath.Base(path)) && filepath.Base(path) != "README.md" {
			t.Errorf("the index of decisions lacks %s", path)
		}
	}
	if n := len(all[filepath.Join(top, "README.md")]); n > maxFrontPage {
		t.Errorf("the front page has %d bytes, want %d at most", n, maxFrontPage)
	}
}

func TestWrongPagesAreNoticed(t *testing.T) {
	t.Parallel()
	root := newProgram(nil, strings.NewReader(""), io.Discard, io.Discard).rootCommand()
	for _, wrong := range []string{"`klingbridge srve`", "```\n$ klingbridge task gett order-1\n```", "```sh\nklingbridge dead list x\nklingbridge lst\n```"} {
		if unknownCommands(root, wrong) == nil {
			t.Errorf("%q is not noticed", wrong)
		}
	}
	all := map[string]string{filepath.Join(top, "README.md"): "# One\n## Two words\n[a](nowhere.md) [b](#three) [c](#two-words) [d](LICENSE)"}
	if got := missingLinks(all, filepath.Join(top, "README.md")); strings.Join(got, " ") != "nowhere.md #three" {
		t.Errorf("missing links %q", got)
	}
}
