// Package callback receives Kling's callbacks. What proves one is its signed URL, a signature of Kling's, or Kling itself
// when it is asked.
//
// It answers 2xx only for what is stored or known to be. It owns the URLs of callbacks. It creates no task, and asks Kling
// only about tasks that it can't be sure of.
package callback
