package kling

import (
	"errors"
	"io"
)

// ErrFenced is the cause of a create call that its fence ended: its body was not finished, so that Kling made nothing.
var ErrFenced = errors.New("the body was not finished")

// Fenced returns a client whose create calls ask may before each part of their body, and last just before its final byte, or
// before all of a small one that goes to the system in one write. On an error the call ends there with [ErrFenced] and
// [ActionRetry]: a body that is not finished creates nothing.
func (c *Client) Fenced(may func() error) *Client {
	fenced := *c
	fenced.fence = may
	return &fenced
}

// maxAtOnce is the largest body that is read at once, in bytes: TLS has room for it in one record, also on a new connection
// (1208 bytes, crypto/tls).
const maxAtOnce = 1 << 10

// fencedBody reads a body of a known size as long as it may. The last byte is read by itself, unless all of the body is read at once
// and written next, as HTTP/1 does. HTTP/2 may wait in between, for room at the other end.
type fencedBody struct {
	io.Reader
	may     func() error
	oneStep func() bool // what is read is written next
	size    int64
	left    int64
}

// Read implements [io.Reader].
func (b *fencedBody) Read(p []byte) (int, error) {
	if b.left > 0 {
		if err := b.may(); err != nil {
			return 0, errors.Join(ErrFenced, err)
		}
	}
	atOnce := b.left == b.size && b.size <= maxAtOnce && b.oneStep()
	if !atOnce && b.left > 1 && int64(len(p)) >= b.left {
		p = p[:b.left-1]
	}
	n, err := b.Reader.Read(p)
	b.left -= int64(n)
	return n, err
}
