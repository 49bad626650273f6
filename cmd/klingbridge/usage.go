package main

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

// noArgs is cobra's, which calls an argument an unknown command.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("unexpected argument %q", args[0])
	}
	return nil
}

// shellSafe is what every shell takes as one word.
var shellSafe = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=,-]+$`)

// shellQuote returns s as a word for a command line to copy.
func shellQuote(s string) string {
	if shellSafe.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// unknownKind says which kinds there are, the likeliest first.
func unknownKind(name string, kinds kling.Kinds) string {
	text := fmt.Sprintf("%q is no kind known here", name)
	var names []string
	nearest, least := "", len(name)/3+1 // what is further off is another word
	for _, kind := range kinds.All() {
		names = append(names, kind.Name)
		if d := editDistance(name, kind.Name); d < least {
			nearest, least = kind.Name, d
		}
	}
	if nearest != "" {
		text += "; did you mean " + nearest + "?"
	}
	return text + " (known are: " + strings.Join(names, " ") + ")"
}

// editDistance is Levenshtein's: how many bytes to insert, drop or replace.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
