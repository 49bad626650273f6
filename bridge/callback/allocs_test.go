//go:build !race

package callback

import "testing"

// TestReceiverNeedsLittleMemory counts what a callback allocates, but for what NATS's client does. The collector's work grows
// with it.
func TestReceiverNeedsLittleMemory(t *testing.T) {
	const most = 20
	r := newRig(t)
	r.again()
	msg, i := completion(), 0
	client := testing.AllocsPerRun(rigSize/2, func() {
		if _, err := r.bus.Publish(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
	})
	all := testing.AllocsPerRun(rigSize/2, func() {
		r.serve(t, i)
		i++
	})
	if ours := all - client; ours > most {
		t.Errorf("a callback takes %v allocations, want at most %d", ours, most)
	}
}
