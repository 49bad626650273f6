// Package kling speaks Kling AI's HTTP API: the table of kinds, a client for both API generations, its credentials, the
// meaning of its errors, and the decoding and verification of its callbacks. It knows nothing of NATS.
//
// A task is created with [Client.Create] and looked up with [Client.Find] and [Client.FindExternal], wherever it is, with
// [Client.Query] and [Client.QueryExternal] where its kind has it, or among others with [Client.List] (v1),
// [Client.QueryTasks] and [Client.ListRecent] (v2 and solutions). Every failure is an [*Error] that carries what it means
// for the caller: whether the task may exist, whether to try again, or whether a person has to act.
//
// Kling's API comes in generations, told apart by [Kind.Generation]. All are read into the same [Task].
package kling
