package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// What [errors.Is] finds in the errors of the methods that ask.
var (
	// ErrNotFound says that nothing is known of the request.
	ErrNotFound = errors.New("not found")
	// ErrTooLate says that the request is past the point where this could be done.
	ErrTooLate = errors.New("too late")
	// ErrUnavailable says that the same question may be answered later: the bridge can't reach JetStream, or, which is
	// ErrNoAnswer too, there is none.
	ErrUnavailable = errors.New("unavailable")
	// ErrNoAnswer says that nobody answers questions: no bridge is running on this NATS system under this prefix.
	ErrNoAnswer = errors.New("no bridge answers")
)

// APIError is a bridge's answer that is no.
type APIError struct {
	Code    int // 400 wrong input, 404 unknown id, 409 too late, 500 anything else
	Message string
	// Kling is only of [Client.Call], whose codes are: 400 Kling refuses it, or it can't be asked so, 429 too much at a time,
	// 502 not answered by Kling, 504 not answered in time. Its Retryable says that Kling has certainly not done it, and
	// that the same call could succeed later.
	Kling *Error
}

// Error returns the message and, in brackets, the code.
func (e *APIError) Error() string { return fmt.Sprintf("%s (code %d)", e.Message, e.Code) }

// Is reports whether target is what the code means: [ErrNotFound], [ErrTooLate] or [ErrUnavailable].
func (e *APIError) Is(target error) bool {
	switch target {
	case ErrNotFound:
		return e.Code == http.StatusNotFound
	case ErrTooLate:
		return e.Code == http.StatusConflict
	case ErrUnavailable:
		return e.Code >= http.StatusInternalServerError && (e.Kling == nil || e.Kling.Retryable)
	default:
		return false
	}
}

// noAnswer is ErrNoAnswer and ErrUnavailable.
type noAnswer struct{ subject string }

func (e *noAnswer) Error() string { return fmt.Sprintf("%s on %s", ErrNoAnswer, e.subject) }

func (e *noAnswer) Is(target error) bool { return target == ErrNoAnswer || target == ErrUnavailable }

// answerTimeout bounds one question: a bridge gives up after 5 s.
const answerTimeout = 10 * time.Second

// Task returns what is known of a request. The error is [ErrNotFound] where that is nothing, and [ErrNoAnswer]
// where no bridge runs, as that of all the methods that ask. An answer that is no is an [*APIError].
func (c *Client) Task(ctx context.Context, id string) (Task, error) {
	var answer TaskAnswer
	err := c.ask(ctx, EndpointTaskGet, []byte(id), &answer)
	return answer.Task, err
}

// Tasks returns one page of requests: those that have not ended, then the others, newest first. A request that moves on
// between two pages may be on both. A page may be shorter than its limit although its cursor says that there are more.
func (c *Client) Tasks(ctx context.Context, q TaskQuery) (TaskList, error) {
	var answer TaskList
	err := c.askQuery(ctx, EndpointTaskList, q, &answer)
	return answer, err
}

// Cancel ends a request that has not become a task. The error is [ErrTooLate] once
// there is one, for Kling has no cancel.
func (c *Client) Cancel(ctx context.Context, id string) error {
	return c.ask(ctx, EndpointTaskCancel, []byte(id), &Cancelled{})
}

// DeadLetters returns one page of dead letters, newest first.
func (c *Client) DeadLetters(ctx context.Context, q PageQuery) (DeadList, error) {
	var answer DeadList
	err := c.askQuery(ctx, EndpointDeadList, q, &answer)
	return answer, err
}

// Replay makes a new request of a dead letter and returns its id. The error is [ErrTooLate] while an earlier
// replay has not ended.
func (c *Client) Replay(ctx context.Context, id string) (newID string, err error) {
	var answer Replayed
	err = c.ask(ctx, EndpointDeadReplay, []byte(id), &answer)
	return answer.RequestID, err
}

// Again sends a request again that has ended, whatever its end, and returns the id of the new one. set has members of the
// body that replace those of the old one; nil: none. It costs what Kling charges for the new task.
//
// The error is [ErrTooLate] while the request or the last time it was sent again has not ended, where its body is not known,
// or not all of it, and where it brought an external_task_id of its own and set has no other one.
func (c *Client) Again(ctx context.Context, id string, set map[string]json.RawMessage) (newID string, err error) {
	var answer Replayed
	err = c.askQuery(ctx, EndpointTaskAgain, AgainQuery{RequestID: id, Set: set}, &answer)
	return answer.RequestID, err
}

// Status returns what the bridge has to do and what keeps it from doing so, as one replica sees it.
func (c *Client) Status(ctx context.Context) (BridgeStatus, error) {
	var answer BridgeStatus
	err := c.ask(ctx, EndpointStatus, nil, &answer)
	return answer, err
}

func (c *Client) askQuery(ctx context.Context, e Endpoint, query, answer any) error {
	question, err := json.Marshal(query)
	if err != nil {
		return err
	}
	return c.ask(ctx, e, question, answer)
}

func (c *Client) ask(ctx context.Context, e Endpoint, question []byte, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	subject := c.subjects.API(e)
	msg, err := c.nc.RequestWithContext(ctx, subject, question)
	if errors.Is(err, nats.ErrNoResponders) {
		return &noAnswer{subject}
	}
	if err != nil {
		return fmt.Errorf("ask on %s: %w", subject, err)
	}
	if text := msg.Header.Get(micro.ErrorCodeHeader); text != "" {
		code, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("answer on %s: error code %q", subject, text)
		}
		return &APIError{Code: code, Message: msg.Header.Get(micro.ErrorHeader)}
	}
	if err := json.Unmarshal(msg.Data, answer); err != nil {
		return fmt.Errorf("answer on %s: %w", subject, err)
	}
	return nil
}
