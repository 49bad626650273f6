package kling

import (
	_ "embed" // the samples
	"encoding/json"
	"fmt"
	"time"
)

//go:embed samples.json
var samples []byte

// Sample is what to begin with in a request of a kind.
type Sample struct {
	Required []string        // fields that Kling wants, in words (its API reference, 2026-10)
	Body     json.RawMessage // on one line; inputs are at example.com, and ids made up
	Usual    time.Duration   // that a task takes (recorded 2026-03 and 2026-09); zero: not known
}

// Samples returns one of each kind that Kling documents, by name.
func Samples() map[string]Sample {
	var rows map[string]struct {
		Required     []string        `json:"required"`
		UsualSeconds int             `json:"usual_seconds"`
		Body         json.RawMessage `json:"body"`
	}
	if err := json.Unmarshal(samples, &rows); err != nil {
		panic(fmt.Sprintf("samples.json: %v", err)) // it is part of the program
	}
	all := make(map[string]Sample, len(rows))
	for name, row := range rows {
		all[name] = Sample{Required: row.Required, Body: row.Body, Usual: time.Duration(row.UsualSeconds) * time.Second}
	}
	return all
}
