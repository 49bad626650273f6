// Package clock waits: for a time, and between tries.
//
// It owns nothing and knows nothing of the bridge.
package clock
