// Package archive copies the files of a result from Kling to where they stay: a NATS Object Store bucket, an S3 bucket
// or a directory. A file is streamed, never whole in memory, and is in the archive whole or not at all.
//
// A result's URLs come from outside, in a callback. They are fetched with nothing of ours on them, never through a
// redirect, and never from an address that is not public: see source.go and address.go.
package archive
