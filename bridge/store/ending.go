package store

import (
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/events"
)

// Cancelled is the end of a request that was called off before it became a task.
func Cancelled() End {
	const message = "cancelled before it became a task"
	return End{
		status: events.StatusCancelled, source: events.SourceBridge, message: message,
		err: &events.Error{Class: events.ErrorCancelled, Message: message, Retryable: true},
	}
}

// End is how a request ends.
type End struct {
	status  events.Status
	source  events.Source
	message string
	err     *events.Error // nil on succeed
	// Untouched demands that nothing at all is known of the request: it ends one that was never taken in hand.
	Untouched bool
	after     uint64 // demands that nothing was stored of the request since that sequence; zero: it does not
}

// Effect is what became of something that was learned of a request.
type Effect int

// What may become of it.
const (
	EffectNone     Effect = iota // known before, or a status that says nothing
	EffectProgress               // published as progress
	EffectEnd                    // published as the completion
	EffectLate                   // published as late, beside the completion
	EffectRetry                  // Kling failed the task, and the next one is to be made
	EffectRepeated               // nothing: the request had already ended, or this task was made again
)

// Ended reports whether there is nothing more to ask of the task: the request has ended, whoever published that, or goes on
// with another task.
func (n Effect) Ended() bool { return n >= EffectEnd }

// failure says why Kling failed a task. The same content would fail again; another failure may not.
func failure(task kling.Task) *events.Error {
	class := events.ErrorClass(kling.ClassifyFailure(task))
	return &events.Error{Class: class, Message: request.ClipTo(task.Message, maxMessage), Retryable: class == events.ErrorKling}
}

// maxMessage bounds what an event repeats of Kling's explanation outside the task object.
const maxMessage = 4 << 10

// Unrepeatable is the end of a request whose last task Kling failed and that can't be made again.
func Unrepeatable(rec *Record) End {
	message := rec.Tries[len(rec.Tries)-1].Message
	return Refused(&events.Error{Class: events.ErrorKling, Message: message, Retryable: true})
}

// Refused is the end of a request whose earlier tasks Kling failed, and whose next one can't be made.
func Refused(why *events.Error) End {
	return End{status: events.StatusFailed, source: events.SourceBridge, message: why.Message, err: why}
}

// Rejected is the end of a request that can't become a task.
func Rejected(why *events.Error) End {
	return End{status: events.StatusRejected, source: events.SourceBridge, message: why.Message, err: why}
}

// Expired is the end of a request whose deadline has passed.
func Expired() End {
	const message = "the deadline has passed"
	return End{
		status: events.StatusExpired, source: events.SourceBridge, message: message,
		err: &events.Error{Class: events.ErrorExpired, Message: message, Retryable: true},
	}
}
