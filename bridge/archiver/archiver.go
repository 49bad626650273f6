package archiver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/archive"
	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/clock"
	"github.com/klingbridge/klingbridge/bridge/pull"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
	"github.com/klingbridge/klingbridge/events"
)

// Archiver copies the files of results to the archive, beside the flow: it reads completions as any user could, so that
// a slow archive delays none. Results are ordinary work of one durable consumer, which the replicas share.
type Archiver struct {
	Bus        *bus.Bus
	Store      *store.Store
	Archive    *archive.Archive
	Holder     *pull.Holder
	Unfinished *Copies
	Subjects   subjects.Subjects
	Telemetry  *telemetry.Tracer
	Metrics    *Metrics
	Log        *slog.Logger

	AckWait   time.Duration
	Retention time.Duration
}

const (
	// archiveConsumer is the durable consumer of results.
	archiveConsumer = "archive"
	// filesAtATime bounds the copying of one replica.
	filesAtATime = 4
	// maxUnarchived is how many results may be unacked over all replicas: those that wait for another try count too.
	maxUnarchived = 20_000

	firstArchiveWait = time.Second
	maxArchiveWait   = time.Hour
	// lastTries is how long before a completion goes from the stream it is tried for the last time.
	lastTries = 5 * time.Minute
)

// Consumer begins, when it is first made, with what succeeds from then on: archiving that is switched on does not copy
// the history. Switched off and on again it catches up.
func (a *Archiver) Consumer(ctx context.Context) (jetstream.Consumer, error) {
	return a.Bus.EnsureConsumer(ctx, a.Subjects.EventsStream(), jetstream.ConsumerConfig{
		Durable:     archiveConsumer,
		Description: "klingbridge: results to be archived",
		FilterSubjects: []string{
			a.Subjects.Completion("*", events.StatusSucceed, "*"), a.Subjects.Late("*", events.StatusSucceed, "*"),
		},
		DeliverPolicy: jetstream.DeliverNewPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       a.AckWait,
		MaxDeliver:    -1,
		MaxAckPending: maxUnarchived,
	})
}

// Run archives until ctx ends; hard, which lives longer, bounds what is under way then.
func (a *Archiver) Run(ctx, hard context.Context) {
	var workers sync.WaitGroup
	for range filesAtATime {
		workers.Go(func() { a.work(ctx, hard) })
	}
	workers.Wait()
}

func (a *Archiver) work(ctx, hard context.Context) {
	for ctx.Err() == nil {
		err := a.Bus.Fetch(ctx, a.Subjects.EventsStream(), archiveConsumer, 1, pull.Wait, func(msg jetstream.Msg) {
			a.handle(hard, msg)
		})
		pull.Recover(ctx, a.Log, archiveConsumer, err, func() (jetstream.Consumer, error) { return a.Consumer(ctx) })
	}
}

// unarchived is one result in the hands of this replica.
type unarchived struct {
	rec   *store.Record
	files []archive.File
	tries uint64
	until time.Time // no try after that: the URLs expire, or the completion goes from the stream

	copied map[int]events.ArchivedFile // by number
}

// archivedFiles are those that were copied, in the order of the result.
func (r *unarchived) archivedFiles() []events.ArchivedFile {
	list := []events.ArchivedFile{}
	for _, f := range r.files {
		if copied, ok := r.copied[f.Number]; ok {
			list = append(list, copied)
		}
	}
	return list
}

// handle copies a result's files and acks it, or leaves it for another time.
func (a *Archiver) handle(ctx context.Context, msg jetstream.Msg) {
	r, err := a.read(msg)
	if err != nil {
		a.Log.ErrorContext(ctx, "not a result", slog.String("subject", msg.Subject()), slog.Any("err", err))
		_ = msg.Term() // without it the message comes back and is met here again
		return
	}
	a.Holder.Take(msg)
	defer a.Holder.Drop(msg)
	ctx, span := a.span(ctx, msg, r.rec)
	r.copied = a.Unfinished.take(r.rec.Token())
	if err = a.settle(ctx, r); err == nil {
		err = a.ack(ctx, msg)
	}
	telemetry.EndSpan(span, err)
	switch {
	case err == nil:
	case ctx.Err() != nil: // another replica goes on, at once
		_ = msg.Nak() // without it the message comes back after the ack wait
	default:
		a.Metrics.archived(ctx, archiveAgain)
		a.Unfinished.keep(r.rec.Token(), r.copied)
		wait := r.wait(time.Now())
		a.Log.WarnContext(ctx, "archive", slog.String("request_id", r.rec.RequestID), slog.String("kind", r.rec.Kind),
			slog.Any("err", err), slog.Uint64("tries", r.tries), slog.Duration("wait", wait))
		_ = msg.NakWithDelay(wait) // likewise
	}
}

func (a *Archiver) read(msg jetstream.Msg) (*unarchived, error) {
	var ev events.Event
	if err := json.Unmarshal(msg.Data(), &ev); err != nil {
		return nil, err
	}
	parsed, ok := a.Subjects.Parse(msg.Subject())
	if !ok || ev.RequestID == "" || parsed.Kind != ev.Kind || parsed.Token != events.Token(ev.RequestID) {
		return nil, errors.New("subject and body disagree")
	}
	meta, err := msg.Metadata()
	if err != nil {
		return nil, err
	}
	until := meta.Timestamp.Add(a.Retention - min(lastTries, a.Retention/100))
	if ev.Result != nil {
		until = clock.Earlier(until, ev.Result.ExpiresAt.Time)
	}
	m := &bus.Message{Subject: msg.Subject(), Header: msg.Headers(), Data: msg.Data()}
	return &unarchived{
		rec: store.EndedRecord(a.Telemetry, m, &ev), files: archive.Files(&ev), tries: meta.NumDelivered, until: until,
	}, nil
}

// settle copies the files and publishes what became of them. An error means that it is worth another try.
func (a *Archiver) settle(ctx context.Context, r *unarchived) error {
	_, err := a.Store.Guarded().Last(ctx, a.Subjects.ArchivedOf(r.rec.Token()))
	if !errors.Is(err, bus.ErrNoMessage) {
		return err // nil: it is known already, only the ack was lost
	}
	missing, err := a.copyFiles(ctx, r)
	if err != nil {
		return err
	}
	body := &events.Archived{RequestID: r.rec.RequestID, Kind: r.rec.Kind, Files: r.archivedFiles()}
	status := events.StatusSucceed
	if missing != nil {
		status, body.Error = events.StatusFailed, strings.ReplaceAll(missing.Error(), "\n", "; ")
	}
	if err := a.Store.Archived(ctx, r.rec, status, body); err != nil {
		return err
	}
	a.Metrics.archived(ctx, string(status))
	a.Log.InfoContext(ctx, "archived", slog.String("request_id", r.rec.RequestID), slog.String("kind", r.rec.Kind),
		slog.String("status", string(status)), slog.Int("files", len(body.Files)), slog.String("err", body.Error))
	return nil
}

// copyFiles copies what is not copied yet. missing says why some files never will be; err that some may be later.
func (a *Archiver) copyFiles(ctx context.Context, r *unarchived) (missing, err error) {
	var refused, failed []error
	for _, f := range r.files {
		if _, ok := r.copied[f.Number]; ok {
			continue
		}
		if !time.Now().Before(r.until) {
			failed = append(failed, fmt.Errorf("file %d was not copied in time", f.Number))
			continue
		}
		copied, err := a.Archive.Copy(ctx, f)
		switch {
		case err == nil:
			r.copied[f.Number] = copied
		case errors.Is(err, archive.ErrRefused):
			refused = append(refused, err)
		default:
			failed = append(failed, err)
		}
	}
	if len(failed) > 0 && time.Now().Before(r.until) {
		return nil, errors.Join(append(failed, refused...)...)
	}
	return errors.Join(append(refused, failed...)...), nil
}

// wait is the time to the next try: 1 s, 2 s, 4 s … 1 h, less up to half of it, and never past the last moment.
func (r *unarchived) wait(now time.Time) time.Duration {
	most := maxArchiveWait
	if r.tries < 12 {
		most = min(firstArchiveWait<<(max(r.tries, 1)-1), maxArchiveWait)
	}
	wait := most/2 + mathrand.N(most/2)
	if left := r.until.Sub(now); left < wait {
		wait = max(left, firstArchiveWait/10)
	}
	return wait
}

func (a *Archiver) ack(ctx context.Context, msg jetstream.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, store.PublishTimeout)
	defer cancel()
	return a.Bus.DoubleAck(ctx, msg)
}

// Copies remembers what was copied of results that are not complete yet, so that one file that is missing does not have
// the others copied over and over. It only ever saves work.
//
// Safe for concurrent use.
type Copies struct {
	mu      sync.Mutex
	byToken map[string]map[int]events.ArchivedFile
}

// NewCopies remembers nothing yet.
func NewCopies() *Copies { return &Copies{byToken: map[string]map[int]events.ArchivedFile{}} }

// take returns what is known of a result and forgets it.
func (c *Copies) take(token string) map[int]events.ArchivedFile {
	c.mu.Lock()
	defer c.mu.Unlock()
	files := c.byToken[token]
	delete(c.byToken, token)
	if files == nil {
		files = map[int]events.ArchivedFile{}
	}
	return files
}

// keep forgets everything else when that has become too much.
func (c *Copies) keep(token string, files map[int]events.ArchivedFile) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.byToken) >= maxUnarchived {
		clear(c.byToken)
	}
	c.byToken[token] = files
}
