package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/klingbridge/klingbridge/events"
)

// Service answers questions on NATS. Its replicas share the questions by a queue group.
type Service struct {
	Asker    *API
	Others   Endpoints // nil: none
	metadata map[string]string
	nc       *nats.Conn
	log      *slog.Logger

	mu      sync.Mutex
	stopped bool // no answer is begun any more
	answers sync.WaitGroup
}

// Endpoints are what another part answers on the same service, and waits for by itself.
type Endpoints interface {
	// AddTo adds them. hard ends the answers under way at once.
	AddTo(hard context.Context, svc micro.Service) error
	// Stop begins no further answer.
	Stop()
}

const (
	serviceName = "klingbridge"
	// answerTime bounds one answer.
	answerTime = 5 * time.Second
	// maxAnswers bounds the answers under way on one replica, of each sort. Further questions wait.
	maxAnswers = 8
)

// The keys of what a replica says of itself in the metadata of the service.
const (
	MetadataVersion   = "version"    // as built; that of the service is 0.0.0 where this is not a semantic one
	MetadataPublicURL = "public_url" // empty: poll only
	MetadataSimulated = "simulated"  // true where Kling is simulated, else false
)

// NewService is for a bridge whose public URL, which may hold a password, is public.
func NewService(a *API, nc *nats.Conn, public *url.URL, simulated bool, log *slog.Logger) *Service {
	return &Service{Asker: a, nc: nc, log: log, metadata: map[string]string{
		MetadataVersion: a.Version, MetadataPublicURL: public.Redacted(), MetadataSimulated: strconv.FormatBool(simulated),
	}}
}

// Start takes questions until stop is called, which waits for the answers under way. hard ends those at once.
func (s *Service) Start(hard context.Context) (stop func(), err error) {
	svc, err := micro.AddService(s.nc, micro.Config{
		Name:        serviceName,
		Version:     semanticVersion(s.Asker.Version),
		Description: "A bridge between NATS JetStream and the Kling AI video API",
		Metadata:    s.metadata,
	})
	if err != nil {
		return nil, fmt.Errorf("NATS service %s: %w", serviceName, err)
	}
	a := s.Asker
	// Those by id may have to read through all that waits; the others are not to wait for them.
	byID, others := make(chan struct{}, maxAnswers), make(chan struct{}, maxAnswers)
	for endpoint, answer := range map[events.Endpoint]answerer{
		events.EndpointTaskGet:    askedByID(a.Get),
		events.EndpointTaskList:   askedByQuery(a.List),
		events.EndpointTaskAgain:  askedByQuery(a.Again),
		events.EndpointTaskCancel: askedByID(a.Cancel),
		events.EndpointDeadList:   askedByQuery(a.DeadList),
		events.EndpointDeadReplay: askedByID(a.Replay),
		events.EndpointStatus:     func(ctx context.Context, _ []byte) (any, error) { return a.Status(ctx) },
	} {
		places := others
		switch endpoint {
		case events.EndpointTaskGet, events.EndpointTaskAgain, events.EndpointTaskCancel, events.EndpointDeadReplay:
			places = byID
		}
		err := svc.AddEndpoint(strings.ReplaceAll(string(endpoint), ".", "-"), s.handler(hard, places, answer),
			micro.WithEndpointSubject(a.Subjects.API(endpoint)), micro.WithEndpointMetadata(schemas(endpoint)))
		if err != nil {
			s.stop(svc)
			return nil, fmt.Errorf("NATS service %s: %s: %w", serviceName, endpoint, err)
		}
	}
	if s.Others != nil {
		if err := s.Others.AddTo(hard, svc); err != nil {
			s.stop(svc)
			return nil, fmt.Errorf("NATS service %s: %w", serviceName, err)
		}
	}
	return func() { s.stop(svc) }, nil
}

// The keys of the metadata of each endpoint: the names of JSON Schemas.
const (
	metadataRequestSchema  = "request_schema"
	metadataResponseSchema = "response_schema"
)

func schemas(e events.Endpoint) map[string]string {
	of := events.APISchemaURL + "#/$defs/" + string(e)
	return map[string]string{metadataRequestSchema: of + ".question", metadataResponseSchema: of}
}

func (s *Service) stop(svc micro.Service) {
	if s.Others != nil {
		s.Others.Stop()
	}
	if err := svc.Stop(); err != nil {
		s.log.Debug("stop the NATS service", slog.Any("err", err)) // the connection is closed next
	}
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.answers.Wait()
}

// answerer returns the answer to a question.
type answerer func(ctx context.Context, question []byte) (any, error)

func askedByID[A any](f func(context.Context, string) (A, error)) answerer {
	return func(ctx context.Context, question []byte) (any, error) {
		return f(ctx, strings.Trim(string(question), " \t\r\n"))
	}
}

func askedByQuery[Q, A any](f func(context.Context, Q) (A, error)) answerer {
	return func(ctx context.Context, question []byte) (any, error) {
		var q Q
		if err := decodeStrictly(question, &q); err != nil {
			return nil, refusef(http.StatusBadRequest, "query: %s", err)
		}
		return f(ctx, q)
	}
}

// decodeStrictly refuses what it does not know: a misspelt filter would list everything. Nothing at all is an empty query.
func decodeStrictly(data []byte, q any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	err := dec.Decode(q)
	if errors.Is(err, io.EOF) && len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the object")
	}
	return nil
}

// handler answers each question in a goroutine of its own: the library calls handlers one after the other. It must not
// be told of the answer once the handler has returned, so that the answer is published without it.
func (s *Service) handler(hard context.Context, places chan struct{}, answer answerer) micro.Handler {
	return micro.HandlerFunc(func(r micro.Request) {
		if r.Reply() == "" { // nobody to answer
			return
		}
		places <- struct{}{}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.stopped {
			<-places
			return
		}
		question, subject, reply := r.Data(), r.Subject(), r.Reply()
		s.answers.Go(func() {
			defer func() { <-places }()
			ctx, cancel := context.WithTimeoutCause(hard, answerTime, fmt.Errorf("no answer from JetStream within %s", answerTime))
			defer cancel()
			s.publish(ctx, subject, reply, s.answer(ctx, answer, question))
		})
	})
}

func (s *Service) publish(ctx context.Context, subject, reply string, msg *nats.Msg) {
	msg.Subject = reply
	if err := s.nc.PublishMsg(msg); err != nil {
		s.log.WarnContext(ctx, "answer", slog.String("subject", subject), slog.Any("err", err))
	}
}

// answer is the message that answers a question.
func (s *Service) answer(ctx context.Context, answer answerer, question []byte) *nats.Msg {
	v, err := answer(ctx, question)
	msg := &nats.Msg{Header: nats.Header{events.HeaderContentType: {events.ContentTypeJSON}}}
	if err == nil {
		msg.Data, err = readableJSON(v)
	}
	if err == nil && int64(msg.Size()) > s.nc.MaxPayload() {
		err = fmt.Errorf("the answer takes %d bytes, more than a message may", msg.Size())
	}
	if err != nil {
		return s.errorMsg(ctx, err)
	}
	return msg
}

// readableJSON leaves &, < and > as they are: URLs are copied from what a NATS command line prints.
func readableJSON(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimRight(buf.Bytes(), "\n"), err
}

func (s *Service) errorMsg(ctx context.Context, err error) *nats.Msg {
	code := http.StatusInternalServerError
	if r, ok := errors.AsType[*refusal](err); ok {
		code = r.code
	} else {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		s.log.WarnContext(ctx, "question", slog.Any("err", err))
	}
	return &nats.Msg{Header: nats.Header{
		micro.ErrorCodeHeader: {strconv.Itoa(code)},
		micro.ErrorHeader:     {oneLine(err)},
	}}
}

// semantic is the pattern that semver.org suggests.
var semantic = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)` +
	`(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?` +
	`(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?$`)

// semanticVersion is what the library wants for a version: 0.0.0 stands for one that has no number.
func semanticVersion(version string) string {
	if v := strings.TrimPrefix(version, "v"); semantic.MatchString(v) {
		return v
	}
	return "0.0.0"
}
