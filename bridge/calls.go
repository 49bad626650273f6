package bridge

import (
	"context"
	"errors"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
)

// callMetrics count and time the calls to Kling, and count the publishes that were tried again.
type callMetrics struct {
	duration metric.Float64Histogram
	failed   metric.Int64Counter
	retries  metric.Int64Counter

	byCall *telemetry.Series[callCode]
	byCode *telemetry.Series[callCode]
}

// callCode is a call and what came of it, on an account; empty: there is none to tell it from.
type callCode struct{ account, call, code string }

func newCallMetrics(m *telemetry.Meter) *callMetrics {
	buckets := []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 20, 30, 60, 120}
	cm := &callMetrics{
		duration: m.Seconds("kling.call.duration", "Time of one call to Kling.", buckets),
		failed:   m.Count("kling.call.errors", "{error}", "Calls to Kling that failed, by its code."),
		retries:  m.Count("kling.publish.retries", "{retry}", "Publishes tried again because JetStream gave no certain answer."),
		byCall:   telemetry.NewSeries(callCode.attrs),
		byCode:   telemetry.NewSeries(callCode.attrs),
	}
	cm.retries.Add(context.Background(), 0) // a counter that appears at 1 has not increased
	return cm
}

func (m *callMetrics) retried() { m.retries.Add(context.Background(), 1) }

func (c callCode) attrs() []attribute.KeyValue {
	attrs := []attribute.KeyValue{attribute.String(telemetry.AttrCall, c.call)}
	if c.code != "" {
		attrs = append(attrs, attribute.String(telemetry.AttrCode, c.code))
	}
	if c.account != "" {
		attrs = append(attrs, attribute.String(telemetry.AttrAccount, c.account))
	}
	return attrs
}

// of counts the calls of an account, and has the health of all told. plain: there is none to tell it from.
func (m *callMetrics) of(plain bool, health *kling.Health) func(account string) func(context.Context, kling.Call) {
	return func(account string) func(context.Context, kling.Call) {
		if plain {
			account = ""
		}
		return func(ctx context.Context, c kling.Call) {
			health.Note(c, time.Now())
			m.called(ctx, account, c)
		}
	}
}

func (m *callMetrics) called(ctx context.Context, account string, c kling.Call) {
	m.duration.Record(ctx, c.Duration.Seconds(), m.byCall.Records(callCode{account: account, call: c.Op})...)
	if c.Err != nil {
		m.failed.Add(ctx, 1, m.byCode.Of(callCode{account, c.Op, codeName(c.Err)}))
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
