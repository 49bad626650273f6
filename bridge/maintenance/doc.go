// Package maintenance looks after what no message leads to: requests that expire while they wait in the stream, and what
// JetStream itself has lost, records without a timer and tasks without a record.
//
// It publishes only through the store, and leaves tasks that it finds to the poller.
package maintenance
