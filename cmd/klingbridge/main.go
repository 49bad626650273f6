// Command klingbridge is a bridge between NATS JetStream and the Kling AI video API.
//
// Results go to stdout, all else to stderr. It exits 0 when done, 1 when something failed and 2 on wrong usage, which
// includes a wrong environment.
package main

import (
	"context"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the first signal asks us to stop; from then on a signal kills, as if we weren't here
	os.Exit(run(ctx, os.Args[1:], environMap(os.Environ()), os.Stdin, os.Stdout, os.Stderr))
}

func environMap(pairs []string) map[string]string {
	environ := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		environ[name] = value
	}
	return environ
}
