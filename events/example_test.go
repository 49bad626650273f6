package events_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/events"
	"github.com/klingbridge/klingbridge/events/body"
)

func ExampleClient_Do() {
	nc, stop := exampleBridge() // in your program: nats.Connect(url, nats.MaxReconnects(-1))
	client, err := events.NewClient(nc, events.Subjects{})
	if err != nil {
		log.Fatal(err)
	}
	lighthouse := body.Text2Video{ModelName: "kling-v3", Prompt: "a lighthouse at dawn", Duration: "5"}
	ev, err := client.Do(context.Background(), lighthouse, events.Options{
		ID:      "order-42",    // the same order is never made twice
		Timeout: 2 * time.Hour, // after which it ends as expired
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := ev.Err(); err != nil {
		log.Fatal(err)
	}
	for _, video := range ev.Result.Videos {
		fmt.Println(video.URL, video.DurationSeconds)
	}
	stop()
	// Output: https://cdn.example/a.mp4?x=1&y=2 5.1
}

// A program that is stopped between the two finds the completion when it runs again.
func ExampleClient_Await() {
	nc, stop := exampleBridge()
	client, err := events.NewClient(nc, events.Subjects{})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	id, err := client.Submit(ctx, body.Text2Video{ModelName: "kling-v3", Prompt: "a lighthouse at dawn"}, events.Options{
		ID: "order-43", Metadata: map[string]string{"Tenant": "acme"},
	})
	if err != nil {
		log.Fatal(err)
	}
	ev, err := client.Await(ctx, id)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(ev.RequestID, ev.Status)
	stop()
	// Output: order-43 succeed
}

func ExampleClient_Watch() {
	nc, stop := exampleBridge()
	client, err := events.NewClient(nc, events.Subjects{})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	start := time.Now().Add(-time.Minute)
	if _, err := client.Submit(ctx, body.Text2Video{ModelName: "kling-v3"}, events.Options{ID: "order-44"}); err != nil {
		log.Fatal(err)
	}
	for m, err := range client.Watch(ctx, events.Filter{ID: "order-44", Since: start}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(m.Type, m.Event.Status)
		if m.Event.Status.Terminal() {
			break
		}
	}
	stop()
	// Output:
	// progress submitted
	// completion succeed
}

// A bare JetStream client will do, too.
func ExampleNewRequest() {
	nc, stop := exampleBridge()
	js, err := jetstream.New(nc)
	if err != nil {
		log.Fatal(err)
	}
	subjects := events.Subjects{}
	completions, err := nc.SubscribeSync(subjects.CompletionOf("order-45"))
	if err != nil {
		log.Fatal(err)
	}
	lighthouse := body.Raw("text2video", []byte(`{"model_name":"kling-v3","prompt":"a lighthouse at dawn"}`))
	msg, err := events.NewRequest(subjects, lighthouse, events.Options{ID: "order-45"})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := js.PublishMsg(context.Background(), msg); err != nil {
		log.Fatal(err)
	}
	completion, err := completions.NextMsg(time.Minute)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(completion.Subject)
	stop()
	// Output: kling.completion.text2video.succeed.order-45
}

// What nobody takes is told at once.
func ExampleClient_Submit() {
	nc, stop := exampleBridge()
	client, err := events.NewClient(nc, events.Subjects{})
	if err != nil {
		log.Fatal(err)
	}
	effect := body.Effects{EffectScene: "hug", Input: body.EffectsInput{Images: []string{"a", "b"}}}
	id, err := client.Submit(context.Background(), effect, events.Options{ID: "order-46"})
	fmt.Println(id, errors.Is(err, events.ErrUnknownKind))
	stop()
	// Output: order-46 true
}

// Why a request did not succeed can be taken apart.
func ExampleEvent_Err() {
	ev := events.Event{
		RequestID: "order-47", Status: events.StatusRejected,
		Error: &events.Error{Class: events.ErrorPolicy, Code: 1301, HTTPStatus: 400, Message: "sensitive content"},
	}
	err := ev.Err()
	fmt.Println(err)
	var reason *events.Error
	if errors.As(err, &reason) && reason.Class == events.ErrorPolicy {
		fmt.Println("retryable:", reason.Retryable)
	}
	// Output:
	// request "order-47" rejected: policy: sensitive content (code 1301, HTTP 400)
	// retryable: false
}

func ExampleSubjects() {
	s := events.Subjects{}
	fmt.Println(s.Request("text2video", events.PriorityHigh))
	fmt.Println(s.AllCompletions())
	fmt.Println(s.CompletionOf(events.Token("order-42")))
	fmt.Println(s.CompletionOf(events.Token("order 42")))
	// Output:
	// kling.request.text2video.high
	// kling.completion.>
	// kling.completion.*.*.order-42
	// kling.completion.*.*.h-59096d5ad4f7817da522986575e827c4
}

func ExampleSubjects_Parse() {
	parsed, ok := events.Subjects{}.Parse("kling.completion.text2video.succeed.order-42")
	fmt.Println(parsed.Type, parsed.Kind, parsed.Status, parsed.Token, ok)
	// Output: completion text2video succeed order-42 true
}
