// Package bus is the bridge's side of NATS JetStream: connect or embed a server, provision streams and consumers, and
// publish with an answer that is certain. It knows nothing of Kling.
package bus
