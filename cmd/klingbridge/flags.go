package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/klingbridge/klingbridge/config"
)

var (
	errFlagEmpty = errors.New("empty")
	errFlagTwice = errors.New("given twice")
)

// strict has every command below one refuse flags that are empty, mostly by a shell variable that is not set, and those
// given twice that hold one value: to go by the default, or by the last, would silently do something else.
func strict(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		if flag.DefValue == "0s" { // which help knows for no default only in the library's own type
			flag.DefValue = ""
		}
		repeatable := slices.Contains([]string{"stringArray", "stringSlice", "stringToInt"}, flag.Value.Type())
		if repeatable && flag.DefValue == "[]" {
			flag.DefValue = ""
		}
		flag.Value = &strictValue{Value: flag.Value, repeatable: repeatable}
	})
	for _, sub := range cmd.Commands() {
		strict(sub)
	}
}

// strictValue is a flag's value that is set once.
type strictValue struct {
	pflag.Value
	repeatable, given bool
}

// Set implements [pflag.Value].
func (v *strictValue) Set(text string) error {
	yesNo := v.Type() == "bool"
	switch {
	case text == "" && !yesNo:
		return errFlagEmpty
	case v.given && !v.repeatable && (!yesNo || text != v.String()):
		return errFlagTwice
	}
	v.given = true
	if v.Type() == "duration" {
		d, err := config.ParseDuration(text) // as in variables
		if err != nil {
			return err
		}
		text = d.String()
	}
	return v.Value.Set(text)
}

// wanted says what a type of flags takes.
var wanted = map[string]string{
	"int": "a whole number", "uint64": "a whole number of zero or more", "bool": "true or false",
	"duration": "a duration (want e.g. 15s)", "stringToInt": "name=number",
	probability: "a probability from 0 to 1", factor: "a number above zero",
}

// flagError says what is wrong with a flag, in one line that names it.
func flagError(cmd *cobra.Command, err error) error {
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok && unknown.GetSpecifiedShortnames() == "" {
		return usageError{errors.New(err.Error() + didYouMean(cmd, unknown.GetSpecifiedName()))}
	}
	wrong, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok {
		return usageError{err}
	}
	flag := wrong.GetFlag()
	value := fmt.Sprintf(" %q", wrong.GetValue())
	if holdsSecret(flag.Name) {
		value = ""
	}
	want, known := wanted[flag.Value.Type()]
	switch {
	case errors.Is(err, errFlagEmpty):
		return usagef("--%s is empty", flag.Name)
	case errors.Is(err, errFlagTwice) && value != "":
		return usagef("--%s is given twice, the second time as%s", flag.Name, value)
	case errors.Is(err, errFlagTwice):
		return usagef("--%s is given twice", flag.Name)
	case known:
		return usagef("--%s%s is not %s", flag.Name, value, want)
	default:
		return usagef("--%s%s: %w", flag.Name, value, errors.Unwrap(err))
	}
}

// holdsSecret reports whether the value of a flag is not to be repeated.
func holdsSecret(name string) bool {
	return name == "to" || strings.Contains(name, "secret") || strings.Contains(name, "key")
}

// didYouMean names the flag that is likely meant.
func didYouMean(cmd *cobra.Command, name string) string {
	nearest, least := "", len(name)/3+1
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		if d := editDistance(name, flag.Name); d < least {
			nearest, least = flag.Name, d
		}
	})
	if nearest == "" {
		return ""
	}
	return "; did you mean --" + nearest + "?"
}

// The types of numbers within bounds.
const (
	probability = "probability"
	factor      = "factor"
)

// number is a flag's value within the bounds of its type.
type number struct {
	value *float64
	kind  string
}

// String implements [pflag.Value].
func (n number) String() string { return strconv.FormatFloat(*n.value, 'g', -1, 64) }

// Type implements [pflag.Value].
func (n number) Type() string { return n.kind }

// Set implements [pflag.Value].
func (n number) Set(text string) error {
	v, err := strconv.ParseFloat(text, 64)
	within := n.kind == probability && v >= 0 && v <= 1 || n.kind == factor && v > 0 && !math.IsInf(v, 0)
	if err != nil || !within {
		return strconv.ErrRange
	}
	*n.value = v
	return nil
}
