package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
)

// object reads an object where it is sought: its chunks are messages on one subject, in order. nats.go makes a chunk of each
// read of the uploader's, so that they need not be of one size.
type object struct {
	ctx  context.Context
	bus  *bus.Bus
	info *jetstream.ObjectInfo
	pace func(read int64) // is told before a wait for bytes how many of them are then written

	at     int64    // where the next byte is
	chunks [][]byte // read, from there on
	next   uint64   // sequence from which the next chunk is; zero: not known
	read   int64
	err    error // of the store, for good
}

// chunksAtATime bounds what is in memory: mostly 128 KiB each.
const chunksAtATime = 4

func (o *object) stream() string  { return "OBJ_" + o.info.Bucket }
func (o *object) subject() string { return "$O." + o.info.Bucket + ".C." + o.info.NUID }

// Seek implements [io.Seeker].
func (o *object) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += o.at
	case io.SeekEnd:
		offset += int64(o.info.Size)
	}
	if offset < 0 {
		return o.at, errors.New("before the beginning")
	}
	if offset != o.at {
		o.at, o.chunks, o.next = offset, nil, 0
	}
	return o.at, nil
}

// Read implements [io.Reader].
func (o *object) Read(p []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	if o.at >= int64(o.info.Size) {
		return 0, io.EOF
	}
	if len(o.chunks) == 0 {
		if o.err = o.fill(); o.err != nil {
			return 0, o.err
		}
	}
	n := copy(p, o.chunks[0])
	if o.chunks[0] = o.chunks[0][n:]; len(o.chunks[0]) == 0 {
		o.chunks = o.chunks[1:]
	}
	o.at += int64(n)
	return n, nil
}

// fill reads a few chunks.
func (o *object) fill() error {
	skip := int64(0)
	if o.next == 0 {
		var err error
		if o.next, skip, err = o.locate(); err != nil {
			return err
		}
	}
	read := 0
	err := o.bus.Scan(o.ctx, o.stream(), o.subject(), o.next, chunksAtATime, func(m *bus.Message) bool {
		o.next = m.Seq + 1
		data := m.Data[min(skip, int64(len(m.Data))):]
		skip = 0
		if len(data) > 0 {
			o.chunks = append(o.chunks, data)
			o.read += int64(len(data))
		}
		read++
		return read < chunksAtATime
	})
	if err != nil {
		return err
	}
	if len(o.chunks) == 0 {
		return fmt.Errorf("object %s of bucket %s: %d of %d bytes are there", o.info.Name, o.info.Bucket, o.at, o.info.Size)
	}
	o.pace(o.read)
	return nil
}

// locate returns the sequence of the chunk that has the next byte, and how many of its bytes are before that. It reads
// the sizes of the chunks, without their data.
func (o *object) locate() (seq uint64, skip int64, err error) {
	if o.at == 0 {
		return 1, 0, nil
	}
	begins, found := int64(0), false
	all := bus.Selection{Subjects: []string{o.subject()}, HeadersOnly: true}
	err = o.bus.ReadThrough(o.ctx, o.stream(), all, func(m *bus.Message) {
		size, _ := strconv.ParseInt(m.Header.Get("Nats-Msg-Size"), 10, 64) // a chunk without one is missing at the end
		if !found && begins+size > o.at {
			seq, skip, found = m.Seq, o.at-begins, true
		}
		begins += size
	})
	if err == nil && !found {
		err = fmt.Errorf("object %s of bucket %s: %d of %d bytes are there", o.info.Name, o.info.Bucket, begins, o.info.Size)
	}
	return seq, skip, err
}

// sniff returns the content type that the first bytes tell, and goes back to the first.
func (o *object) sniff() (string, error) {
	head := make([]byte, 512)
	n, err := io.ReadFull(o, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return "", err
	}
	_, err = o.Seek(0, io.SeekStart)
	return http.DetectContentType(head[:n]), err
}
