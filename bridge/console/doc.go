// Package console is the page on the admin listener: what waits, what is in flight, what it costs and how long it takes,
// one request's life step by step, and the dead letters with a button each.
//
// All it shows comes from JetStream and from the [Source], so that every replica shows the same. Nothing is read or
// counted while nobody looks: the last hour of events and the index of task ids are read when the first page opens, and
// dropped a few minutes after the last one was closed.
//
// The page is plain HTML, CSS and JavaScript modules, embedded as they are. Its data come as JSON below /api/ and, live,
// as server-sent events.
package console
