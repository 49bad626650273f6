// Command go handles completions: each is tried again until it is handled, by any number of processes, and none is missed
// while none runs.
//
//	NATS_URL=nats://127.0.0.1:4222 go run ./deployments/examples/go
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"os"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/events"
)

// handle is what your program does with a completion. One that failed is a completion, too.
func handle(_ context.Context, ev events.Event) error {
	if err := ev.Err(); err != nil {
		fmt.Println(ev.RequestID, ev.Status, ev.Error.Class)
		return nil
	}
	for _, video := range ev.Result.Videos { // none of an image kind
		fmt.Println(ev.RequestID, ev.Status, video.URL)
	}
	return nil
}

func main() {
	nc, err := nats.Connect(cmp.Or(os.Getenv("NATS_URL"), nats.DefaultURL), nats.MaxReconnects(-1))
	if err != nil {
		log.Fatal(err)
	}
	client, err := events.NewClient(nc, events.Subjects{})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(client.Handle(context.Background(), "videos", events.Filter{FromStart: true}, handle))
}
