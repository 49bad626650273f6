// Package files serves objects of the NATS Object Store to Kling, which takes videos and audio by URL only. A URL is signed, is
// for one object, and ends with the request's deadline.
//
// It owns what is below /files/ on the callback listener. An object is streamed, a few of its messages in memory at a time;
// a range is read from the message on where it begins.
package files
