package kling

import (
	"io"
	"testing"
)

// TestSmallBodiesAreReadAtOnce saves a packet for each piece of a body. A large one ends with a byte by itself.
func TestSmallBodiesAreReadAtOnce(t *testing.T) {
	t.Parallel()
	open := func() error { return nil }
	room := make([]byte, 2*maxAtOnce)
	for _, c := range []struct {
		pieces  [][]byte
		oneStep bool
		first   int
	}{
		{[][]byte{[]byte(`{"prompt":"a boat"`), []byte(`,"external_task_id":"a"`), []byte(`}`)}, true, 42},
		{[][]byte{[]byte(`{"prompt":"a boat"`), []byte(`,"external_task_id":"a"`), []byte(`}`)}, false, 41},
		{[][]byte{make([]byte, maxAtOnce), []byte("x")}, true, maxAtOnce},
	} {
		for range 2 { // it is sent again where the connection turns out to be closed
			body := request{op: opCreate, body: c.pieces}.newBody(open, func() bool { return c.oneStep })
			if n, err := body.Read(room); n != c.first || err != nil && err != io.EOF {
				t.Errorf("%d bytes are read at once: %v, want %d", n, err, c.first)
			}
		}
	}
}
