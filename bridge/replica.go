package bridge

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/klingbridge/klingbridge/bridge/api"
	"github.com/klingbridge/klingbridge/bridge/archiver"
	"github.com/klingbridge/klingbridge/bridge/call"
	"github.com/klingbridge/klingbridge/bridge/callback"
	"github.com/klingbridge/klingbridge/bridge/console"
	"github.com/klingbridge/klingbridge/bridge/create"
	"github.com/klingbridge/klingbridge/bridge/dispatch"
	"github.com/klingbridge/klingbridge/bridge/files"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/maintenance"
	"github.com/klingbridge/klingbridge/bridge/poll"
	"github.com/klingbridge/klingbridge/bridge/pull"
	"github.com/klingbridge/klingbridge/bridge/request"
)

// replica is everything that runs on a connection. It only starts and stops; wire.go builds it.
type replica struct {
	live     *callback.Live
	intake   *dispatch.Intake
	lanes    []dispatch.Lane
	pools    map[kling.Pool]*dispatch.Pool
	inFlight *dispatch.InFlight
	backlog  *dispatch.BacklogReader
	holder   *pull.Holder
	creator  *create.Creator
	edges    []*create.EdgeWatch // one for each account
	poller   *poll.Poller
	waiting  *request.Stream
	expirer  *maintenance.Expirer
	service  *api.Service
	caller   *call.Caller
	files    *files.Live

	reconciler *maintenance.Reconciler
	watch      *watch

	archiver *archiver.Archiver // nil: results are not archived
}

// running is what has been started, in the groups in which it ends.
type running struct {
	pulling     sync.WaitGroup // takes new work
	dispatching sync.WaitGroup // finishes the requests in hand
	background  sync.WaitGroup // serves both
	broken      chan error     // of the watch: whoever supervises the process starts it again
	stopAnswers func()
	cleanUp     []func() // in reverse order
}

// run starts the parts, and when ctx ends stops them in the order of the flow. What is under way then may go on for the
// shutdown timeout.
func (p *replica) run(ctx context.Context, b *Bridge, web *web) error {
	hard, cancelHard := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelHard()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &running{broken: make(chan error, 1)}
	defer r.clean()
	if err := p.prepare(ctx, hard, b, r); err != nil {
		return err
	}
	p.start(ctx, hard, b, r)
	b.admin.watch.Store(p.watch)
	b.admin.pools.Store(&p.pools)
	b.admin.ready.Store(true)

	var failure error
	select {
	case <-ctx.Done():
	case failure = <-r.broken:
		cancel()
	}
	b.admin.ready.Store(false)
	b.log.InfoContext(ctx, "shutting down", slog.Duration("timeout", b.opts.ShutdownTimeout))
	overdue := time.AfterFunc(b.opts.ShutdownTimeout, cancelHard)
	defer overdue.Stop()
	r.stopAnswers()
	r.pulling.Wait()
	web.stopCallbacks(b.opts.ShutdownTimeout) // polls and expiry have ended: nothing else publishes
	r.dispatching.Wait()
	p.caller.Wait()
	cancelHard()
	r.background.Wait()
	return failure
}

// prepare does what has to be done before the first request is taken: count what is in flight, so that no slot is taken
// twice, and be there to answer.
func (p *replica) prepare(ctx, hard context.Context, b *Bridge, r *running) error {
	for _, pool := range p.pools {
		pool.Begin = func(j *dispatch.Job) func() dispatch.Result { return p.creator.Begin(hard, j) }
	}
	unsubscribe, err := p.inFlight.Subscribe() // before it counts: nothing in between is missed
	if err != nil {
		return err
	}
	r.cleanUp = append(r.cleanUp, unsubscribe)
	if err := b.untilAvailable(ctx, func() error { return p.inFlight.Recount(ctx) }); err != nil {
		return err
	}
	observed, err := b.metrics.dispatch.Show(p.pools, p.backlog)
	if err != nil {
		return err
	}
	r.cleanUp = append(r.cleanUp, func() { _ = observed.Unregister() }) // fails only where a provider knows no callbacks
	if r.stopAnswers, err = p.service.Start(hard); err != nil {
		return err
	}
	// Whoever reads that this replica is ready may ask it: the server knows its subscriptions.
	if err := b.untilAvailable(ctx, func() error { return p.watch.bus.Flush(ctx) }); err != nil {
		r.stopAnswers()
		return err
	}
	p.creator.SuspectBefore(p.watch.bus.Now())
	return nil
}

// start starts everything that runs until ctx ends, or hard.
func (p *replica) start(ctx, hard context.Context, b *Bridge, r *running) {
	r.background.Go(func() { p.holder.Signal(hard, b.opts.AckWait/4) })
	r.background.Go(func() { p.inFlight.Listen(hard) })
	for _, pool := range p.pools {
		r.dispatching.Go(func() { pool.Dispatch(ctx.Done()) })
	}
	for _, lane := range p.lanes {
		r.pulling.Go(func() { p.intake.Pull(ctx, lane, p.pools[lane.Pool]) })
	}
	r.pulling.Go(func() { p.poller.Run(ctx, hard) })
	r.pulling.Go(func() { p.expirer.Run(ctx) })
	for _, edge := range p.edges {
		r.pulling.Go(func() { edge.Run(ctx) })
	}
	r.pulling.Go(func() { p.inFlight.Run(ctx) })
	r.pulling.Go(func() { p.reconciler.Run(ctx) })
	r.pulling.Go(func() { r.broken <- p.watch.run(ctx) })
	r.pulling.Go(func() { p.showConsole(ctx, b.admin.console) })
	if p.archiver != nil {
		r.cleanUp = append(r.cleanUp, p.archiver.Archive.Close)
		r.pulling.Go(func() { p.archiver.Run(ctx, hard) })
	}
}

func (r *running) clean() {
	for i := len(r.cleanUp) - 1; i >= 0; i-- {
		r.cleanUp[i]()
	}
}

// freed tells every pool that requests may go on, or that others need not wait for them.
func (p *replica) freed() {
	for _, pool := range p.pools {
		pool.Freed()
	}
}

// showConsole lets the console answer until ctx ends.
func (p *replica) showConsole(ctx context.Context, c *console.Console) {
	a := p.service.Asker
	c.Run(ctx, consoleSource{a}, a.Bus, a.Subjects)
}
