package events_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/klingbridge/klingbridge/events"
	"github.com/klingbridge/klingbridge/events/body"
)

// client is connected to a NATS system on which a bridge runs, see ExampleClient_Do. The examples that use it are only
// compiled.
var client *events.Client

func ExampleClient_Events() {
	nc, stop := exampleBridge()
	client, err := events.NewClient(nc, events.Subjects{})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	id, err := client.Submit(ctx, body.Text2Video{ModelName: "kling-v3", Prompt: "a lighthouse"}, events.Options{})
	if err != nil {
		log.Fatal(err)
	}
	for m, err := range client.Events(ctx, id) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(m.Type, m.Event.Status)
	}
	stop()
	// Output:
	// progress submitted
	// completion succeed
}

// An image that is too large for a message goes by way of a bucket.
func ExampleClient_Attach() {
	nc, stop := exampleBridge()
	client, err := events.NewClient(nc, events.Subjects{})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	image := strings.NewReader("…") // in your program: os.Open
	ref, err := client.Attach(ctx, events.Attachment{Name: "order-42.png"}, image)
	if err != nil {
		log.Fatal(err)
	}
	waves := body.Image2Video{ModelName: "kling-v3", Image: ref, Prompt: "the waves come in"}
	fmt.Println(waves.Kind(), waves.Image)
	stop()
	// Output: image2video nats-object://kling-inputs/order-42.png
}

func ExampleClient_Task() {
	task, err := client.Task(context.Background(), "order-42")
	switch {
	case errors.Is(err, events.ErrNotFound):
		fmt.Println("nothing is known of it")
	case err != nil:
		log.Fatal(err)
	case task.Status == events.StatusWaiting:
		fmt.Println("waits for", task.WaitsFor)
	default:
		fmt.Println(task.Status)
	}
}

// One page, of those that failed today.
func ExampleClient_Tasks() {
	list, err := client.Tasks(context.Background(), events.TaskQuery{
		Statuses:  events.Statuses{events.StatusFailed, events.StatusRejected},
		Since:     events.At(time.Now().Add(-24 * time.Hour)),
		PageQuery: events.PageQuery{Limit: 20},
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, task := range list.Tasks {
		fmt.Println(task.RequestID, task.Error)
	}
	fmt.Println("more:", list.Cursor != "")
}

func ExampleClient_AllTasks() {
	query := events.TaskQuery{Kind: events.KindText2Video, Statuses: events.Statuses{events.StatusWaiting}}
	for task, err := range client.AllTasks(context.Background(), query) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(task.RequestID, task.RequestedAt)
	}
}

func ExampleClient_Cancel() {
	err := client.Cancel(context.Background(), "order-42")
	if errors.Is(err, events.ErrTooLate) {
		fmt.Println("the task exists, and Kling has no cancel")
		return
	}
	if err != nil {
		log.Fatal(err)
	}
}

func ExampleClient_DeadLetters() {
	list, err := client.DeadLetters(context.Background(), events.PageQuery{Limit: 10})
	if err != nil {
		log.Fatal(err)
	}
	for _, letter := range list.Dead {
		fmt.Println(letter.RequestID, letter.Error.Message)
	}
}

func ExampleClient_AllDeadLetters() {
	for letter, err := range client.AllDeadLetters(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(letter.RequestID, letter.Error.Class)
	}
}

func ExampleClient_Replay() {
	ctx := context.Background()
	id, err := client.Replay(ctx, "order-42")
	if err != nil {
		log.Fatal(err)
	}
	ev, err := client.Await(ctx, id) // order-42-r1
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(ev.ReplayOf, ev.Status)
}

func ExampleClient_Status() {
	status, err := client.Status(context.Background())
	if errors.Is(err, events.ErrUnavailable) {
		fmt.Println("ask again later:", err)
		return
	}
	if err != nil {
		log.Fatal(err)
	}
	for _, pool := range status.Pools {
		fmt.Println(pool.Pool, pool.InFlight, pool.Paused)
	}
}

// Where the files of results were copied to, as it happens.
func ExampleMessage_Archived() {
	filter := events.Filter{Types: []events.Type{events.TypeArchived}}
	for m, err := range client.Watch(context.Background(), filter) {
		if err != nil {
			log.Fatal(err)
		}
		archived, err := m.Archived()
		if err != nil {
			log.Fatal(err)
		}
		for _, file := range archived.Files {
			fmt.Println(archived.RequestID, file.ArchiveURL)
		}
	}
}
