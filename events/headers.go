package events

import (
	"strings"

	"github.com/nats-io/nats.go"
)

// Headers of requests and events. NATS header names are case-sensitive.
const (
	HeaderContentType = "Content-Type" // on requests and events: ContentTypeJSON
	ContentTypeJSON   = "application/json"

	HeaderRequestID = "Kling-Request-Id" // on requests and events: the request id, 1 to 128 bytes
	HeaderTimeout   = "Kling-Timeout"    // on requests: a Go duration or whole seconds, from when the request was stored
	// HeaderRetries is on requests: how often a task that Kling failed, for no fault of the request, is made again, 0 to
	// [MaxRetries].
	HeaderRetries = "Kling-Retries"
	// HeaderTry is on events from the second try on: which one it is.
	HeaderTry    = "Kling-Try"
	HeaderTaskID = "Kling-Task-Id" // on events: Kling's task id, absent where there is no task
	// HeaderExternalTaskID is on events: the task's external_task_id at Kling, absent where there is none.
	HeaderExternalTaskID = "Kling-External-Task-Id"

	// HeaderAccount is on requests, the account at Kling to use, and on events, the account of the task.
	HeaderAccount = "Kling-Account"

	HeaderStatus   = "Kling-Status"    // on events: the event's status
	HeaderSource   = "Kling-Source"    // on events: callback, poll or bridge
	HeaderSlots    = "Kling-Slots"     // on submitted events of tasks that take more than one slot of their pool
	HeaderModel    = "Kling-Model"     // on submitted events of tasks whose request names a model
	HeaderReplayOf = "Kling-Replay-Of" // on requests that replay a dead letter: the request id of that

	// HeaderMetaPrefix begins headers of a request that are echoed on each of its events, as the same header and in
	// the body's metadata: Kling-Meta-Tenant: acme.
	HeaderMetaPrefix = "Kling-Meta-"

	// HeaderErrorPrefix begins the headers a dead letter adds to those of the request.
	HeaderErrorPrefix     = "Kling-Error-"
	HeaderErrorClass      = "Kling-Error-Class"       // see ErrorClass
	HeaderErrorCode       = "Kling-Error-Code"        // Kling's code, 0 where Kling was not asked
	HeaderErrorHTTPStatus = "Kling-Error-Http-Status" // 0 where Kling was not asked
	HeaderErrorMessage    = "Kling-Error-Message"     // one line
	HeaderErrorRetryable  = "Kling-Error-Retryable"   // true or false: whether the same request could succeed later
	HeaderErrorPriority   = "Kling-Error-Priority"    // high or low: the priority of the request, absent for normal
	HeaderErrorOmitted    = "Kling-Error-Omitted"     // how many headers of the request did not fit, if any
)

// CloudEvents 1.0 attributes in the NATS binding's binary mode.
const (
	HeaderCESpecVersion = "ce-specversion" // 1.0
	HeaderCEID          = "ce-id"          // the same as Nats-Msg-Id
	HeaderCESource      = "ce-source"      // /klingbridge/<prefix>
	HeaderCEType        = "ce-type"        // ai.kling.task.<status>
	HeaderCESubject     = "ce-subject"     // the request id, percent-encoded where it is not printable ASCII
	HeaderCETime        = "ce-time"        // when the event was published

	HeaderCEDataContentType = "ce-datacontenttype" // ContentTypeJSON
	HeaderCEDataSchema      = "ce-dataschema"      // EventSchemaURL, or of an archived event ArchivedSchemaURL
)

// Metadata collects the Kling-Meta-* headers of a message, keyed by what follows the prefix, spelled as sent. It is
// never nil. Of a header given twice the first value counts.
func Metadata(h nats.Header) map[string]string {
	meta := map[string]string{}
	for name, values := range h {
		key, ok := strings.CutPrefix(name, HeaderMetaPrefix)
		if ok && key != "" && len(values) > 0 {
			meta[key] = values[0]
		}
	}
	return meta
}
