package config_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/klingbridge/klingbridge/config"
)

const (
	readme     = "README.md"
	tableBegin = "<!-- config:begin -->\n"
	tableEnd   = "<!-- config:end -->"
)

var update = flag.Bool("update", false, "write the page's table")

// TestTable holds the page's table of variables to the struct. With -update it writes the table.
func TestTable(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(raw), tableBegin)
	table, after, ends := strings.Cut(rest, tableEnd)
	if !begins || !ends {
		t.Fatalf("%s has no table between %q and %q", readme, tableBegin, tableEnd)
	}
	if table == config.Table() {
		return
	}
	if !*update {
		t.Fatalf("the table in %s is not current: make generate", readme)
	}
	if err := os.WriteFile(readme, []byte(before+tableBegin+config.Table()+tableEnd+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestEveryVariableHasHelp(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, v := range config.Variables() {
		if v.Name == "" || v.Help == "" {
			t.Errorf("%q has help %q", v.Name, v.Help)
		}
		if seen[v.Name] {
			t.Errorf("%s is there twice", v.Name)
		}
		seen[v.Name] = true
	}
}
