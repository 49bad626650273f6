// Package store is all that is known of requests: their records, which are the timers of their tasks at the same time, their
// events and completions, and their dead letters.
//
// It alone writes to the events stream, and each of its writes is guarded: an intent is stored only if nothing at all is
// known of the request, a claim only over the record that was seen, a completion only where there is none. It owns the
// subjects below the put prefix and the stream of dead letters. It calls nobody but JetStream, and decides nothing about
// when.
package store
