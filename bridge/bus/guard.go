package bus

import (
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// GuardSequence lets msg be stored only if the last message on subjects, a literal or a filter with wildcards, has the
// sequence seq; 0 means that there is none.
func GuardSequence(msg *nats.Msg, subjects string, seq uint64) {
	msg.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(seq, 10))
	msg.Header.Set(jetstream.ExpectedLastSubjSeqSubjHeader, subjects)
}

// ScheduleAt makes msg a timer: at that time the server stores it on target instead, in one step. A later message on
// the same subject replaces it. The target is named as it is published.
func ScheduleAt(msg *nats.Msg, at time.Time, target string) {
	msg.Header.Set(jetstream.ScheduleHeader, scheduleAt(at))
	msg.Header.Set(jetstream.ScheduleTargetHeader, target)
}

func scheduleAt(at time.Time) string {
	const before, usual = "@at ", len("@at 2026-10-01T12:00:00.123456789Z")
	return string(at.UTC().AppendFormat(append(make([]byte, 0, usual), before...), time.RFC3339Nano))
}

// PurgeTimer makes the storing of msg remove the timer on subject, if there is one, in the same write.
func PurgeTimer(msg *nats.Msg, subject string) {
	msg.Header.Set(headerScheduler, subject)
	msg.Header.Set(headerScheduleNext, schedulePurge)
}

// What has a timer removed.
const (
	headerScheduler    = "Nats-Scheduler"
	headerScheduleNext = "Nats-Schedule-Next"
	schedulePurge      = "purge"
)
