// Package api answers what people and programs ask about requests, all of it from JetStream: any replica gives the same
// answer.
//
// It owns the micro service and its subjects. Beside cancelling and replaying, which the store does, it changes nothing.
package api
