// Package create turns requests into tasks at Kling, at most one each: it stores the intent, makes the create call, finds out
// what became of one whose outcome is unknown, and acks the request.
//
// Nothing is sent to Kling before its record is stored. It owns no state but the attempts in hand. It neither receives
// callbacks nor polls.
package create
