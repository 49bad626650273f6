// Package poll asks Kling about tasks whose timer has fired, many in one call, and publishes what is answered.
//
// It owns the consumer of fired records. It creates no task.
package poll
