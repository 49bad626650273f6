// Package events is the public contract of klingbridge in Go: subjects, headers, requests, the events that answer
// them, and a small client.
//
// A program that asks for media publishes the JSON body of Kling's own create call on [Subjects.Request], which package
// body has types for; the bridge
// answers with progress events and exactly one completion, both of type [Event]:
//
//	kling.request.<kind>[.high|.low]        a request, published by you
//	kling.progress.<kind>.<status>.<id>     submitted, processing, retrying
//	kling.completion.<kind>.<status>.<id>   succeed, failed, rejected, expired, cancelled: the one final event
//	kling.late.<kind>.<status>.<id>         what Kling reported after the request had expired or was cancelled
//	kling.archived.<kind>.<status>.<id>     where the result's files were copied to, see Archived
//	kling.dead.<kind>.<status>.<id>         a request that never became a task, with the reason in its headers
//
// <id> is the request id as one subject token, see [Token].
//
// # The client
//
//	client, err := events.NewClient(nc, events.Subjects{})
//	…
//	lighthouse := body.Text2Video{ModelName: "kling-v3", Prompt: "a lighthouse at dawn"}
//	ev, err := client.Do(ctx, lighthouse, events.Options{ID: "order-42"})
//	…
//	err = ev.Err() // nil when there is a result
//
// A program that acts on whatever ends, as a service of its own, handles completions. They are shared by all that use the same
// name, kept while none runs, and come again after an error:
//
//	err = client.Handle(ctx, "videos", events.Filter{}, func(ctx context.Context, ev events.Event) error {
//		if err := ev.Err(); err != nil {
//			return orders.Fail(ctx, ev.RequestID, err)
//		}
//		return orders.Deliver(ctx, ev.RequestID, ev.Result.Videos[0].URL)
//	})
//
// [Client.Submit] and [Client.Await] are the two halves of [Client.Do], which may be hours and processes apart. A NATS
// user that only runs a client needs permission to subscribe to _INBOX.> and to publish on
//
//	kling.request.>
//	$JS.API.STREAM.NAMES
//	$JS.API.STREAM.INFO.KLING_EVENTS
//	$JS.API.CONSUMER.CREATE.KLING_EVENTS.>
//	$JS.API.CONSUMER.MSG.NEXT.KLING_EVENTS.>
//	$JS.API.CONSUMER.DELETE.KLING_EVENTS.>
//
// and for [Client.Handle] also
//
//	$JS.API.CONSUMER.INFO.KLING_EVENTS.*
//	$JS.ACK.KLING_EVENTS.>
//
// # Compatibility
//
// Fields are only ever added; ignore those you do not know. The JSON Schema of requests and events and an AsyncAPI 3
// document stand beside this file and are held to the types by tests.
//
// This package imports nothing else of klingbridge. Package eventstest beside it is for the tests of its users.
package events
