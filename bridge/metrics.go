package bridge

import (
	"context"
	"errors"
	"math"
	"strconv"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// Attributes of metrics, spelled like the keys of the log. Every one of them has few values, whatever comes in: kinds
// are those of the table, codes those of Kling's list, and nothing is counted by request, task or metadata.
const (
	attrKind       = "kind"
	attrStatus     = "status"
	attrSource     = "source"
	attrPool       = "pool"
	attrPriority   = "priority"
	attrOutcome    = "outcome"
	attrClass      = "class"
	attrCall       = "call"
	attrCode       = "code"
	attrComponent  = "component"
	attrGeneration = "generation"
)

// Buckets of the histograms, in seconds.
var (
	waitBuckets     = []float64{.1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 6 * 3600, 24 * 3600}
	taskBuckets     = []float64{5, 10, 20, 30, 60, 90, 120, 180, 240, 300, 420, 600, 900, 1800, 3600, 4 * 3600, 24 * 3600}
	callbackBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}
	callBuckets     = []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 20, 30, 60, 120}
)

// metrics are all the instruments of the bridge. Counters are of this replica; add them up over replicas. Gauges of
// what replicas share, such as waiting requests and slots, are the same on each of them; see gauges.go.
type metrics struct {
	requests       metric.Int64Counter
	tasks          metric.Int64Counter
	completions    metric.Int64Counter
	lateResults    metric.Int64Counter
	oddFields      metric.Int64Counter
	units          metric.Float64Counter
	deadLetters    metric.Int64Counter
	callbacks      metric.Int64Counter
	polls          metric.Int64Counter
	pollTasks      metric.Int64Counter
	callErrors     metric.Int64Counter
	publishRetries metric.Int64Counter
	archiveTries   metric.Int64Counter

	submitDuration   metric.Float64Histogram
	taskDuration     metric.Float64Histogram
	callbackDuration metric.Float64Histogram
	callDuration     metric.Float64Histogram

	gauges gauges

	byLane       *series[lane]
	byKind       *series[string]
	byEnd        *series[end]
	byKindStatus *series[kindStatus]
	byClass      *series[events.ErrorClass]
	byOutcome    *series[outcome]
	byAnswer     *series[string]
	byCall       *series[string]
	byCode       *series[callCode]
}

// What the attributes of one measurement are, where there are several.
type (
	lane struct { // of requests; pool or kind
		kind     string
		pool     kling.Pool
		priority events.Priority
	}
	end struct {
		kind   string
		status events.Status
		source events.Source
	}
	kindStatus struct {
		kind   string
		status events.Status
	}
	callCode struct{ call, code string }
)

func newMetrics(provider metric.MeterProvider, kinds kling.Kinds) (*metrics, error) {
	meter := provider.Meter(instrumentationName)
	var errs []error
	count := func(name, unit, description string) metric.Int64Counter {
		c, err := meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
		errs = append(errs, err)
		return c
	}
	seconds := func(name, description string, buckets []float64) metric.Float64Histogram {
		h, err := meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description),
			metric.WithExplicitBucketBoundaries(buckets...))
		errs = append(errs, err)
		return h
	}
	m := &metrics{
		requests:       count("kling.requests", "{request}", "Requests taken in."),
		tasks:          count("kling.tasks", "{task}", "Tasks created at Kling."),
		completions:    count("kling.completions", "{completion}", "Requests ended."),
		lateResults:    count("kling.late.results", "{result}", "Ends of tasks whose request had expired or was cancelled."),
		oddFields:      count("kling.odd_fields", "{field}", "Fields of ended tasks that had an unexpected type and count as absent."),
		deadLetters:    count("kling.dead_letters", "{message}", "Requests kept as dead letters, by the class of their error."),
		callbacks:      count("kling.callbacks", "{callback}", "Callbacks answered, by what they came to."),
		polls:          count("kling.polls", "{poll}", "Polls, each of all due tasks of one kind."),
		pollTasks:      count("kling.poll.tasks", "{task}", "Tasks asked about by polls, by what was answered."),
		callErrors:     count("kling.call.errors", "{error}", "Calls to Kling that failed, by its code."),
		archiveTries:   count("kling.archive.tries", "{try}", "Tries to archive a result, by what they came to."),
		publishRetries: count("kling.publish.retries", "{retry}", "Publishes tried again because JetStream gave no certain answer."),

		submitDuration:   seconds("kling.submit.duration", "From a request being stored to its task being created.", waitBuckets),
		taskDuration:     seconds("kling.task.duration", "From a task being created to its end being published.", taskBuckets),
		callbackDuration: seconds("kling.callback.duration", "From a callback's arrival to its event being stored.", callbackBuckets),
		callDuration:     seconds("kling.call.duration", "Time of one call to Kling.", callBuckets),

		byLane: newSeries(func(l lane) []attribute.KeyValue {
			attrs := []attribute.KeyValue{attribute.String(attrPriority, priorityName(l.priority))}
			if l.kind != "" {
				return append(attrs, attribute.String(attrKind, l.kind))
			}
			return append(attrs, attribute.String(attrPool, string(l.pool)))
		}),
		byKind: newSeries(one[string](attrKind)),
		byEnd: newSeries(func(e end) []attribute.KeyValue {
			return []attribute.KeyValue{
				attribute.String(attrKind, e.kind), attribute.String(attrStatus, string(e.status)),
				attribute.String(attrSource, string(e.source)),
			}
		}),
		byKindStatus: newSeries(func(k kindStatus) []attribute.KeyValue {
			return []attribute.KeyValue{attribute.String(attrKind, k.kind), attribute.String(attrStatus, string(k.status))}
		}),
		byClass:   newSeries(one[events.ErrorClass](attrClass)),
		byOutcome: newSeries(one[outcome](attrOutcome)),
		byAnswer:  newSeries(one[string](attrOutcome)),
		byCall:    newSeries(one[string](attrCall)),
		byCode: newSeries(func(c callCode) []attribute.KeyValue {
			return []attribute.KeyValue{attribute.String(attrCall, c.call), attribute.String(attrCode, c.code)}
		}),
	}
	var err error
	m.units, err = meter.Float64Counter("kling.units", metric.WithUnit("{unit}"), metric.WithDescription("Units deducted by Kling."))
	errs = append(errs, err, m.gauges.create(meter))
	m.begin(kinds)
	return m, errors.Join(errs...)
}

// begin shows the series that alerts watch from the start: a counter that appears at 1 has not increased.
func (m *metrics) begin(kinds kling.Kinds) {
	ctx := context.Background()
	for _, kind := range kinds.All() {
		m.completions.Add(ctx, 0, m.byEnd.of(end{kind.Name, events.StatusExpired, events.SourceBridge}))
	}
	for _, came := range []string{archiveSucceeded, archiveFailed, archiveAgain} {
		m.archiveTries.Add(ctx, 0, m.byAnswer.of(came))
	}
	for _, o := range outcomes() {
		m.callbacks.Add(ctx, 0, m.byOutcome.of(o))
	}
	for _, answer := range []string{answerEnded, answerRunning, answerNone} {
		m.pollTasks.Add(ctx, 0, m.byAnswer.of(answer))
	}
	for _, class := range []events.ErrorClass{
		events.ErrorInvalid, events.ErrorPolicy, events.ErrorPermission, events.ErrorInput,
	} {
		m.deadLetters.Add(ctx, 0, m.byClass.of(class))
	}
	m.polls.Add(ctx, 0)
	m.publishRetries.Add(ctx, 0)
}

// series makes the attribute set of each key once: making one costs more than the measurement.
//
// Safe for concurrent use.
type series[K comparable] struct {
	attrs func(K) []attribute.KeyValue

	mu   sync.RWMutex
	made map[K]metric.MeasurementOption
}

func newSeries[K comparable](attrs func(K) []attribute.KeyValue) *series[K] {
	return &series[K]{attrs: attrs, made: map[K]metric.MeasurementOption{}}
}

// one is for a key that is the value of a single attribute.
func one[K ~string](name string) func(K) []attribute.KeyValue {
	return func(value K) []attribute.KeyValue { return []attribute.KeyValue{attribute.String(name, string(value))} }
}

func (s *series[K]) of(key K) metric.MeasurementOption {
	s.mu.RLock()
	option, ok := s.made[key]
	s.mu.RUnlock()
	if ok {
		return option
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	option = metric.WithAttributeSet(attribute.NewSet(s.attrs(key)...))
	s.made[key] = option
	return option
}

func priorityName(p events.Priority) string {
	if p == events.PriorityNormal {
		return "normal"
	}
	return string(p)
}

func (m *metrics) received(ctx context.Context, r *request) {
	m.requests.Add(ctx, 1, m.byLane.of(lane{kind: r.kind.Name, priority: r.priority}))
}

func (m *metrics) submitted(ctx context.Context, r *request, rec *record) {
	m.tasks.Add(ctx, 1, m.byKind.of(rec.Kind))
	m.oddFields.Add(ctx, 0, m.byKind.of(rec.Kind)) // a counter that appears at 1 has not increased
	m.submitDuration.Record(ctx, sinceSeconds(rec.RequestedAt), m.byLane.of(lane{pool: r.kind.Pool, priority: r.priority}))
}

func (m *metrics) completed(ctx context.Context, ev *events.Event) {
	m.completions.Add(ctx, 1, m.byEnd.of(end{ev.Kind, ev.Status, ev.Source}))
	m.deducted(ctx, ev)
	byKling := ev.Status == events.StatusSucceed || ev.Status == events.StatusFailed
	if byKling && ev.SubmittedAt != nil {
		m.taskDuration.Record(ctx, sinceSeconds(ev.SubmittedAt.Time), m.byKindStatus.of(kindStatus{ev.Kind, ev.Status}))
	}
}

func (m *metrics) late(ctx context.Context, ev *events.Event) {
	m.lateResults.Add(ctx, 1, m.byKindStatus.of(kindStatus{ev.Kind, ev.Status}))
	m.deducted(ctx, ev)
}

// deducted counts what a task has cost. What is no amount is left out: a counter can't take it back.
func (m *metrics) deducted(ctx context.Context, ev *events.Event) {
	units, err := strconv.ParseFloat(ev.Units, 64)
	if err == nil && units > 0 && !math.IsInf(units, 0) {
		m.units.Add(ctx, units, m.byKind.of(ev.Kind))
	}
}

func (m *metrics) buried(ctx context.Context, class events.ErrorClass) {
	m.deadLetters.Add(ctx, 1, m.byClass.of(class))
}

func (m *metrics) answered(ctx context.Context, o outcome, began time.Time) {
	m.callbacks.Add(ctx, 1, m.byOutcome.of(o))
	if o == outcomeStored {
		m.callbackDuration.Record(ctx, sinceSeconds(began))
	}
}

// What asking about one task came to.
const (
	answerEnded   = "ended"
	answerRunning = "running"
	answerNone    = "none" // Kling did not say, or it could not be stored
)

func (m *metrics) asked(ctx context.Context, n news, err error) {
	answer := answerRunning
	switch {
	case err != nil:
		answer = answerNone
	case n.ended():
		answer = answerEnded
	}
	m.pollTasks.Add(ctx, 1, m.byAnswer.of(answer))
}

// What a try to archive a result came to.
const (
	archiveSucceeded = "succeed"
	archiveFailed    = "failed" // for good: some of its files are not in the archive
	archiveAgain     = "again"  // it is tried again later
)

func (m *metrics) archived(ctx context.Context, came string) {
	m.archiveTries.Add(ctx, 1, m.byAnswer.of(came))
}

func (m *metrics) called(ctx context.Context, c kling.Call) {
	m.callDuration.Record(ctx, c.Duration.Seconds(), m.byCall.of(c.Op))
	if c.Err != nil {
		m.callErrors.Add(ctx, 1, m.byCode.of(callCode{c.Op, codeName(c.Err)}))
	}
}

// codeName is Kling's code, or in a word why there is none.
func codeName(e *kling.Error) string {
	switch {
	case kling.KnownCode(e.Code):
		return strconv.Itoa(e.Code)
	case e.Code != 0:
		return "other"
	case e.NotFound:
		return "not_found"
	case errors.Is(e, kling.ErrMalformed):
		return "malformed"
	case e.HTTPStatus >= 100 && e.HTTPStatus < 600:
		return strconv.Itoa(e.HTTPStatus/100) + "xx"
	default:
		return "unanswered"
	}
}

// sinceSeconds is never negative: clocks of different machines may differ.
func sinceSeconds(t time.Time) float64 { return max(0, time.Since(t).Seconds()) }
