// Package kling speaks Kling AI's HTTP API: the table of kinds, a client for both API generations, its credentials, the
// meaning of its errors, and the decoding and verification of its callbacks. It knows nothing of NATS.
//
// A task is created with [Client.Create] and looked up with [Client.Query], [Client.QueryExternal], [Client.List]
// (v1) or [Client.QueryTasks] (v2). Every failure is an [*Error] that carries what it means for the caller: whether
// the task may exist, whether to try again, or whether a person has to act.
//
// Kling's API comes in two generations, told apart by [Kind.Generation]. Both are read into the same [Task].
package kling
