package main

import (
	"encoding/json"
	"fmt"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

// warnOfModels says on stderr when requests name no model, though their kind takes one: Kling then takes a default,
// which may be one that it no longer serves.
func (p *program) warnOfModels(kinds kling.Kinds, requests ...request) {
	kind, _ := kinds.Lookup(requests[0].kind)
	model, takes := kind.ModelName()
	if !takes {
		return
	}
	missing := 0
	for _, r := range requests {
		if !namesModel(r.body) {
			missing++
		}
	}
	if missing == 0 {
		return
	}
	who := "the request names no model_name"
	if len(requests) > 1 {
		who = fmt.Sprintf("%d of %d requests name no model_name", missing, len(requests))
	}
	then := "takes " + model.Default
	if model.Retired {
		then += ", which it has discontinued"
	}
	fmt.Fprintf(p.stderr, "%s: Kling then %s; a current one for %s: --set model_name=%s\n", who, then, kind.Name, model.Current)
}

// namesModel reports whether a body has a model_name. To Kling an empty one is none, and so is the field model.
func namesModel(body json.RawMessage) bool {
	var fields struct {
		ModelName json.RawMessage `json:"model_name"`
	}
	if err := json.Unmarshal(body, &fields); err != nil {
		return true // it is refused for another reason
	}
	switch string(fields.ModelName) {
	case "", "null", `""`:
		return false
	default:
		return true
	}
}
