package bridge

import (
	"github.com/klingbridge/klingbridge/bridge/archiver"
	"github.com/klingbridge/klingbridge/bridge/call"
	"github.com/klingbridge/klingbridge/bridge/callback"
	"github.com/klingbridge/klingbridge/bridge/create"
	"github.com/klingbridge/klingbridge/bridge/dispatch"
	"github.com/klingbridge/klingbridge/bridge/files"
	"github.com/klingbridge/klingbridge/bridge/poll"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
)

// instruments are those of each step.
type instruments struct {
	calls     *callMetrics
	call      *call.Metrics
	files     *files.Metrics
	readiness *readinessMetrics
	store     *store.Metrics
	dispatch  *dispatch.Metrics
	create    *create.Metrics
	callback  *callback.Metrics
	poll      *poll.Metrics
	archive   *archiver.Metrics
}

// newInstruments makes all instruments, so that what is collected is complete before NATS is reached.
func newInstruments(o Options) (*instruments, error) {
	m := telemetry.NewMeter(o.MeterProvider)
	return &instruments{
		calls:     newCallMetrics(m),
		call:      call.NewMetrics(m),
		files:     files.NewMetrics(m),
		readiness: newReadinessMetrics(m),
		store:     store.NewMetrics(m, o.Kinds),
		dispatch:  dispatch.NewMetrics(m),
		create:    create.NewMetrics(m),
		callback:  callback.NewMetrics(m),
		poll:      poll.NewMetrics(m),
		archive:   archiver.NewMetrics(m),
	}, m.Err()
}
