// Package bridge turns requests on NATS into tasks at Kling, and what becomes of each task into exactly one completion.
//
// Of this module only package events is for import by other modules.
//
// # The map
//
// Imports lead downwards. What stands side by side does not import each other; depguard holds that (.golangci.yml).
//
//	cmd → doctor → bridge → create  callback  poll  maintenance  archiver  files  api  call   what happens to a request, and what is asked
//	                           └────────┴───────┴───┬────┴──────────┴───────┴──────┴────┘
//	                                             dispatch                      which request is next, and whether there is a slot
//	                                              store                        all that is known of requests
//	                                             request                       one request message: read, checked, its body and files
//	                                    pull · telemetry · clock · listener    fetching and holding · spans and series · waiting · strangers
//	                                     bus · kling · subjects · events       JetStream · Kling's HTTP API · subjects · the public contract
//
// A request goes through these steps:
//
//  1. dispatch takes it off the stream (intake.go) and request reads it. A pool decides when it is its turn (order.go) and
//     whether there is a slot for it at Kling (slots.go, ceiling.go).
//  2. create stores the intent through store (pending.go): a record that is also the task's timer. Nothing is sent before.
//     It makes the create call (send.go), and finds out what became of one whose outcome is unknown (lookup.go). Then it
//     stores the task id, announces "submitted" and acks the request.
//  3. callback receives Kling's callback on a signed URL (ownurl.go), or poll asks Kling when the timer has fired (query.go:
//     many tasks in one call).
//  4. store publishes the completion (complete.go): one message that is event, guard and timer removal at once. Where the task
//     failed and may be made again, it makes the record one that waits for the next try instead (tries.go), and puts the
//     request back into the stream when its timer fires (nexttry.go); create takes it over from there (further.go).
//
// A request that can't become a task is rejected by create and kept by store (dead.go); one that waits too long is expired by
// create, poll or maintenance, whichever has it. What JetStream itself has lost is searched for by maintenance
// (reconcile.go). archiver copies the files of results, beside the flow. files serves inputs to Kling that it takes by URL only. api answers questions, call makes those calls that answer at once.
//
// This package itself wires the parts (wire.go), starts and stops them (replica.go), serves HTTP (http.go, admin.go), makes
// the streams (streams.go), and says whether the bridge is able to work (watch.go).
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
// # Where to change what
//
//   - A kind of task: a row of the table in kling/kinds.go; the simulator's rules in kling/klingtest/rules.go.
//   - A call that answers at once: a row of the table in kling/synccalls.go; the simulator's rules in kling/klingtest/sync.go.
//   - An archive target: a scheme in archive/target.go and a file beside archive/file.go; nothing else knows targets.
//   - A way to trust callbacks: a handler beside callback/ownurl.go, chosen in callback/route.go; its option in options.go.
//   - A limit for each tenant: dispatch/order.go picks who is next, by what request/request.go reads of a request.
//   - A class of errors: kling/errors.go classifies, events/event.go names it.
//
// The decisions behind all this are in the adr directory beside this file.
package bridge
