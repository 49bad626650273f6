package request

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

// Replace returns a body with members replaced, each in its old place, and further ones added. All else keeps its spelling.
func Replace(body []byte, members map[string]json.RawMessage) ([]byte, error) {
	o, err := parseObject(body)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		o.set(name, members[name])
	}
	return o.encode(), nil
}

// OwnExternalID is the external task id that a body brings along; empty: none, or the body can't be read.
func OwnExternalID(kind kling.Kind, body []byte) string {
	o, err := parseObject(body)
	if err == nil && kind.Generation.NestsOptions() {
		o, err = o.child("options")
	}
	if err != nil {
		return ""
	}
	id, err := o.takeString("external_task_id")
	if err != nil {
		return ""
	}
	return id
}
