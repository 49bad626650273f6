package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/subjects"
)

// templateID is the request whose messages are copied.
const templateID = "template-0"

// template is a message that the program has stored about one request. Copies of it, for requests that there never were,
// fill a store in seconds that real requests would fill in hours.
type template struct {
	subjects subjects.Subjects
	subject  string
	header   nats.Header
	data     []byte
	taskID   string
}

// cut takes the last message on a subject as a template. What the server is told by headers is left out: the copies
// replace nothing, guard nothing, and their ids are not remembered.
func (c *natsClient) cut(ctx context.Context, s subjects.Subjects, subject, taskID string) (template, error) {
	stream, err := c.js.Stream(ctx, s.EventsStream())
	if err != nil {
		return template{}, err
	}
	msg, err := stream.GetLastMsgForSubject(ctx, subject)
	if err != nil {
		return template{}, fmt.Errorf("message on %s: %w", subject, err)
	}
	st := template{subjects: s, subject: msg.Subject, header: nats.Header{}, data: msg.Data, taskID: taskID}
	for name, values := range msg.Header {
		if !strings.HasPrefix(name, "Nats-") {
			st.header[name] = values
		}
	}
	return st, nil
}

// copy makes the message for another request and task.
func (s template) copy(id, taskID string) *nats.Msg {
	msg := nats.NewMsg(s.subjects.Put(strings.ReplaceAll(s.subject, templateID, id)))
	for name, values := range s.header {
		msg.Header[name] = []string{strings.ReplaceAll(values[0], templateID, id)}
	}
	msg.Data = bytes.ReplaceAll(bytes.ReplaceAll(s.data, []byte(templateID), []byte(id)), []byte(s.taskID), []byte(taskID))
	return msg
}

func copyID(i int) string     { return fmt.Sprintf("copy-%012d", i) }
func copyTaskID(i int) string { return fmt.Sprintf("872%015d", i) }

// trace runs one request as far as its task, and to its completion if it is to end, and returns what the program has
// stored about it last.
func (l *line) trace(ctx context.Context, end bool) (template, error) {
	err := l.publishAll(ctx, 1, func(int) *nats.Msg { return l.request(templateID) })
	if err != nil {
		return template{}, err
	}
	if _, err := l.submitted.await(ctx, 1); err != nil {
		return template{}, err
	}
	if err := l.awaitAcks(ctx); err != nil {
		return template{}, err
	}
	tasks := l.kling.take()
	if len(tasks) != 1 {
		return template{}, fmt.Errorf("%d tasks for one request", len(tasks))
	}
	if !end {
		return l.cut(ctx, l.subjects, l.subjects.StateOf(templateID), tasks[0].id)
	}
	l.kling.put(tasks[0])
	if _, err := l.callBack(ctx); err != nil {
		return template{}, err
	}
	return l.cut(ctx, l.subjects, l.subjects.CompletionOf(templateID), tasks[0].id)
}

// leavings runs one request to its completion and returns all that the program keeps of it: its progress, the request as it
// came, and the completion.
func (l *line) leavings(ctx context.Context) ([]template, error) {
	completion, err := l.trace(ctx, true)
	if err != nil {
		return nil, err
	}
	all := make([]template, 0, 3)
	for _, filter := range []string{l.subjects.Progress("*", "*", templateID), l.subjects.OriginalOf(templateID)} {
		s, err := l.cut(ctx, l.subjects, filter, completion.taskID)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return append(all, completion), nil
}

// fill stores n copies.
func (c *natsClient) fill(ctx context.Context, s template, n int) error {
	return c.publishAll(ctx, n, func(i int) *nats.Msg { return s.copy(copyID(i), copyTaskID(i)) })
}
