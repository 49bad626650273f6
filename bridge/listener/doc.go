// Package listener keeps strangers from shutting the callback listener, which is open to everybody: connections that have
// proven nothing have seconds, a limit for each address, and give way to new ones, oldest first.
//
// It owns the connections and knows nothing of what comes on them: who has seen a proof says so by [Caller.Prove].
package listener
