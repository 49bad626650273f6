// Package chaos holds no code but a test: it kills the built program at every point of a request's life, and takes NATS
// away from it, while Kling is simulated at its worst, and then counts what is left. "make chaos" runs it for minutes;
// without flags it is short enough for every run of the tests.
package chaos
