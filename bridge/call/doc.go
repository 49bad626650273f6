// Package call answers what is asked on kling.call.<name>: it makes one of Kling's calls that answer at once, and gives back
// what Kling says.
//
// It owns the endpoints of the micro service under kling.call. It stores nothing. A call is sent once: some are paid for, and
// none can be asked about afterwards, so that it is for the requester to decide what an unknown outcome is worth.
package call
