package bus

import (
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Draft is a message that is put together to be published once. Its memory is used again for the next one, so that nothing
// may be kept of it after [Draft.Release]: [Bus.Publish] keeps nothing.
type Draft struct {
	nats.Msg
	values []string // of the headers, one each
	headed int      // bytes that the headers take
}

// maxReused is the largest body whose memory is used again, in bytes.
const maxReused = 64 << 10

var drafts = sync.Pool{New: func() any { return &Draft{Msg: nats.Msg{Header: nats.Header{}}} }}

// NewDraft returns a message without headers and body. Whoever has it releases it.
func NewDraft(subject string) *Draft {
	d := drafts.Get().(*Draft)
	d.Subject = subject
	return d
}

// Release gives the memory back.
func (d *Draft) Release() {
	if cap(d.Data) > maxReused {
		d.Data = nil
	}
	d.Subject, d.Reply, d.Data, d.headed = "", "", d.Data[:0], 0
	clear(d.Header)
	clear(d.values)
	d.values = d.values[:0]
	drafts.Put(d)
}

// Set gives the message a header, in place of what it had.
func (d *Draft) Set(name, value string) {
	d.headed += len(name) + len(": ") + len(value) + len("\r\n")
	d.values = append(d.values, value)
	n := len(d.values)
	d.Header[name] = d.values[n-1 : n : n]
}

// Size returns how many bytes the message takes, or a few more. The headers were counted as they were set.
func (d *Draft) Size() int {
	const frame = len("NATS/1.0\r\n\r\n")
	return len(d.Subject) + len(d.Reply) + frame + d.headed + len(d.Data)
}

// Get returns a header, or nothing. It and Keys make a draft what a trace is written into.
func (d *Draft) Get(name string) string {
	if values := d.Header[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// Keys lists the names of the headers.
func (d *Draft) Keys() []string { return slices.Collect(maps.Keys(d.Header)) }

// GuardSequence is [GuardSequence].
func (d *Draft) GuardSequence(subjects string, seq uint64) {
	d.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(seq, 10))
	d.Set(jetstream.ExpectedLastSubjSeqSubjHeader, subjects)
}

// ScheduleAt is [ScheduleAt].
func (d *Draft) ScheduleAt(at time.Time, target string) {
	d.Set(jetstream.ScheduleHeader, scheduleAt(at))
	d.Set(jetstream.ScheduleTargetHeader, target)
}

// PurgeTimer is [PurgeTimer].
func (d *Draft) PurgeTimer(subject string) {
	d.Set(headerScheduler, subject)
	d.Set(headerScheduleNext, schedulePurge)
}
