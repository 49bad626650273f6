package events_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/events"
)

func ExampleClient_Do() {
	nc, stop := exampleBridge() // in your program: nats.Connect(url, nats.MaxReconnects(-1))
	client, err := events.NewClient(nc, events.Subjects{})
	if err != nil {
		log.Fatal(err)
	}
	request, err := events.Text2Video{ModelName: "kling-v3", Prompt: "a lighthouse at dawn", Duration: "5"}.AsRequest()
	if err != nil {
		log.Fatal(err)
	}
	request.ID = "order-42"         // the same order is never made twice
	request.Timeout = 2 * time.Hour // after which it ends as expired
	ev, err := client.Do(context.Background(), request)
	if err != nil {
		log.Fatal(err)
	}
	if ev.Status != events.StatusSucceed {
		log.Fatal(ev.Error)
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
	id, err := client.Submit(ctx, events.Request{
		Kind: "effects", ID: "order-43", Body: []byte(`{"effect_scene":"hug","input":{"images":["a","b"]}}`),
	})
	fmt.Println(id, err)

	id, err = client.Submit(ctx, events.Request{
		Kind: "text2video", ID: "order-43", Body: []byte(`{"model_name":"kling-v3","prompt":"a lighthouse at dawn"}`),
		Timeout: 2 * time.Hour, Metadata: map[string]string{"Tenant": "acme"},
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
	// Output:
	// order-43 submit request "order-43": subject kling.request.effects: no bridge: there is no stream for it
	// order-43 succeed
}

func ExampleClient_Watch() {
	nc, stop := exampleBridge()
	client, err := events.NewClient(nc, events.Subjects{})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	start := time.Now().Add(-time.Minute)
	if _, err := client.Submit(ctx, events.Request{Kind: "text2video", ID: "order-44", Body: []byte(`{"model_name":"kling-v3"}`)}); err != nil {
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
func ExampleRequest_Msg() {
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
	request := events.Request{Kind: "text2video", ID: "order-45", Body: []byte(`{"model_name":"kling-v3","prompt":"a lighthouse at dawn"}`)}
	msg, err := request.Msg(subjects)
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
