// Package bridge turns requests on NATS into tasks at Kling, and what becomes of each task into exactly one completion.
//
// # The flow
//
// A request goes through these steps, each in the file of its name:
//
//  1. consume.go takes the request off the stream, request.go reads and checks it.
//  2. pool.go decides which request is next and capacity.go whether there is a slot for it at Kling.
//  3. pending.go stores the intent: a record that is also the task's timer. Nothing is sent before it is stored.
//  4. create.go makes the create call; lookup.go finds out what became of one whose outcome is unknown.
//  5. pending.go stores the task id, complete.go announces "submitted", and the request is acked.
//  6. callback.go receives Kling's callback on a signed URL (sign.go), or
//     poll.go asks Kling when the timer has fired (query.go: many tasks in one call).
//  7. complete.go publishes the completion: one message that is event, guard and timer removal at once.
//
// A request that can't become a task is completed as rejected and kept by dead.go; one that waits too long is expired
// by create.go, poll.go or waiting.go, whichever has it. What JetStream itself has lost is searched for by reconcile.go.
// archiver.go copies the files of results to an archive, beside the flow, as a reader of completions.
// selftest.go lets doctor ask, from outside in, whether the public URL leads here.
//
// What is asked about requests comes in by service.go and is answered by asker.go and the files of the questions: task.go,
// tasks.go, cancel.go, deadlist.go, replay.go and status.go.
//
// What happens on the way is told by telemetry.go: as spans, in the log, and as the metrics of metrics.go and gauges.go.
//
// # The promise
//
// Exactly one completion per request, at most one task per request, whatever is lost, repeated, late, forged or killed.
// It rests on guards in the events stream, not on locks, leases or duplicate windows:
//
//   - Intent: stored only if nothing at all is known of the request id. A repeated request goes no further.
//   - Claim: before every further send, the record is replaced only if it is still the one this replica knows.
//   - Completion: stored only if there is no completion of that id with any status.
//
// All state is in JetStream. A replica holds nothing that can't be lost, and any number of them may run.
//
// The decisions behind this are in the adr directory beside this file.
package bridge
