// Package klingtest is a simulated Kling: an [http.Handler] that answers as both generations of Kling AI's API do, runs
// tasks on its own clock, calls back, and serves small real media as results. Nothing is generated and nothing is paid
// for. It is meant for tests, demonstrations and load.
//
//	sim := klingtest.Start(t, klingtest.Options{APIKeys: []string{"key"}, Duration: 50 * time.Millisecond})
//	// … point a client at sim.URL …
//	sim.Finish("my-external-id")
//
// It is as strict as Kling is known to be and, through [Faults], as bad: it loses answers of tasks it has created,
// calls back twice, late, in the wrong order or not at all. Where Kling documents nothing, an [Options] field says what
// is assumed. Bad manners that Kling would let pass are kept in [Server.Violations].
//
// It checks tokens, bodies and signatures with code of its own: of package kling it uses the table of kinds only.
package klingtest
