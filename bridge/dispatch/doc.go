// Package dispatch decides which request is next and whether there is a slot for it at Kling: it takes requests off the
// stream into the lanes of pools, learns the limits that Kling has and does not tell, shares slots with other replicas, and
// keeps what is paused apart.
//
// It owns the consumers of requests and the subjects on which replicas tell each other about slots. It never calls Kling and
// never settles a request: what is to be done with one is told to it as a function, and what came of that as a [Result].
package dispatch
