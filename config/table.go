package config

import (
	"reflect"
	"regexp"
	"strings"
)

var variableName = regexp.MustCompile(`\b[A-Z]+_[A-Z_]+\b`)

// Variable describes one environment variable.
type Variable struct {
	Name    string
	Default string // empty: none
	Help    string
}

// Variables lists every variable in the order of [Config]. Those of accounts have <NAME> in place of the account's.
func Variables() []Variable {
	var all []Variable
	for field := range reflect.TypeFor[Config]().Fields() {
		name := field.Tag.Get("env")
		if name == "-" {
			continue
		}
		all = append(all, Variable{Name: name, Default: field.Tag.Get("envDefault"), Help: field.Tag.Get("help")})
		if name == "KLING_ACCOUNTS" {
			all = append(all, accountVariables()...)
		}
	}
	return all
}

// Table returns the variables as a Markdown table, for the page beside this package.
func Table() string {
	var b strings.Builder
	b.WriteString("| variable | default | meaning |\n|---|---|---|\n")
	for _, v := range Variables() {
		b.WriteString("| `" + v.Name + "` | ")
		if v.Default != "" {
			b.WriteString("`" + v.Default + "` ")
		}
		b.WriteString("| " + variableName.ReplaceAllString(v.Help, "`$0`") + " |\n")
	}
	return b.String()
}

// position returns the place of a variable in the table, -1 when it is none.
func position(name string) int {
	for i, v := range Variables() {
		if v.Name == name {
			return i
		}
	}
	return -1
}
