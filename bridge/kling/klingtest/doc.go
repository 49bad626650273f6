// Package klingtest is a simulated Kling: an [http.Handler] that answers as both generations of Kling AI's API do, runs
// tasks on its own clock, calls back, and serves small real media as results. Nothing is generated and nothing is paid
// for. It is meant for tests, demonstrations and load.
//
//	sim := klingtest.Start(t, klingtest.Options{APIKeys: []string{"key"}, Duration: 50 * time.Millisecond})
//	// … point a client at sim.URL …
//	sim.Finish("my-external-id")
//
// It is as strict as Kling is known to be, in Kling's recorded words where there are some: 20 ids a query, each external
// id once an account, inputs at URLs of this machine fetched, older tasks among the newer ones at /tasks, solutions at /solutions only. Through [Faults] it is as
// bad, too: it loses answers of tasks it has created, calls back twice, late, in the wrong order, without results or not
// at all, and sends fields of odd types. [Server.SetEdge] puts something before it that answers with pages,
// [Server.SetRetired] takes a route away. Where Kling documents nothing, an [Options] field says what is assumed. Bad
// manners that Kling would let pass are kept in [Server.Violations].
//
// It checks tokens, bodies and signatures with code of its own: of package kling it uses the tables of kinds and of calls only.
package klingtest
