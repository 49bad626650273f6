package bridge_test

import (
	"slices"
	"testing"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// TestKindsArePublic holds the constants for users to the table of kinds.
func TestKindsArePublic(t *testing.T) {
	t.Parallel()
	var names []string
	for _, kind := range kling.DefaultKinds().All() {
		names = append(names, kind.Name)
	}
	public := events.Kinds()
	slices.Sort(names)
	slices.Sort(public)
	if !slices.Equal(names, public) {
		t.Errorf("got %q, want %q", public, names)
	}
}
