// Package request reads request messages: what a request asks for, under which id, until when, with which files, and what of
// it is sent to Kling. [Stream] finds the requests that lie in the stream.
//
// It owns the requests stream's form. It stores nothing, and takes no request off the stream.
package request
