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

// TestSamplesAreAccepted makes a task of the sample of each kind, by Kling's own rules as far as they are known.
func TestSamplesAreAccepted(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	samples := kling.Samples()
	if len(samples) != len(events.Kinds()) {
		t.Errorf("%d samples of %d kinds", len(samples), len(events.Kinds()))
	}
	for _, kind := range events.Kinds() {
		if len(samples[kind].Required) == 0 {
			t.Errorf("%s: nothing is required", kind)
		}
		w.request(testRequest{Kind: kind, ID: kind, Body: samples[kind].Body})
	}
	for _, kind := range events.Kinds() {
		if ev := w.await(kind); ev.Status != events.StatusSucceed {
			t.Errorf("%s: %s: %+v", kind, ev.Status, ev.Error)
		}
	}
	w.noViolations()
}
