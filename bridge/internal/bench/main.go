// Command bench measures the built program from outside, each figure beside a reference in the same run: it builds
// bin/klingbridge, runs it between a NATS server and a simulated Kling as processes of their own, and asks the operating
// system what they used. The two sides take turns, and what is judged is the median of their ratios, so that a busy or
// slow machine changes the figures but hardly the verdicts.
//
// "make bench" and "make bench-quick" run it. It needs Linux's /proc, and is in no release.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run is the bench itself, or one of the processes that it starts from its own executable.
func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case natsCommand:
			return serveNATS(ctx, args[1:])
		case plainCommand:
			return servePlain(ctx, args[1:])
		case floorCommand:
			return serveFloor(ctx, args[1:])
		case loopCommand:
			return serveLoop(ctx, args[1:])
		}
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	quick := flags.Bool("quick", false, "fewer rounds of less, in four minutes; what is scaled down is marked")
	jsonFile := flags.String("json", "", "also write the results to this `file`")
	only := flags.String("only", "", "run only the suites whose name matches this `regexp`")
	before := flags.String("before", "", "measure the program beside an earlier one, this `executable`, and nothing else")
	dir := flags.String("dir", "", "`directory` for stores and logs, on a real disk; empty: a temporary one")
	if err := flags.Parse(args); err != nil {
		return err
	}
	pick, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	b, err := newBench(ctx, *dir, *quick)
	if err != nil {
		return err
	}
	defer b.close()
	measured := suites()
	if *before != "" {
		b.before, measured = *before, []suite{{"before", measureBefore}}
	}
	report, err := b.run(ctx, pick, measured)
	report.print(os.Stdout)
	if *jsonFile != "" {
		err = errors.Join(err, report.write(*jsonFile))
	}
	return err
}

// bench is one run of it.
type bench struct {
	binary string // the program
	before string // an earlier one; empty: none
	self   string // this executable
	dir    string // stores and logs, removed at the end
	quick  bool
	log    io.Writer
	began  time.Time
}

func newBench(ctx context.Context, dir string, quick bool) (*bench, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err = os.MkdirTemp(dir, "klingbridge-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{self: self, dir: dir, quick: quick, log: os.Stderr, binary: filepath.Join(dir, "klingbridge"), began: time.Now()}
	b.note("build the program")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", b.binary, program)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.close()
		return nil, fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return b, nil
}

const program = "github.com/klingbridge/klingbridge/cmd/klingbridge"

func (b *bench) close() { _ = os.RemoveAll(b.dir) } // a temporary directory that stays harms nobody

// note says on stderr what is being done.
func (b *bench) note(format string, args ...any) {
	fmt.Fprintf(b.log, "%4.0fs  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// subdir makes a directory for one process.
func (b *bench) subdir(name string) (string, error) { return os.MkdirTemp(b.dir, name+"-") }

// of returns the size of something in a full or in a quick run.
func (b *bench) of(full, quick int) int {
	if b.quick {
		return quick
	}
	return full
}

// rounds is how many times each pair is measured.
func (b *bench) rounds() int { return b.of(5, 3) }

// suite measures some figures that share a set-up.
type suite struct {
	name string
	run  func(context.Context, *bench) ([]row, error)
}

func suites() []suite {
	return []suite{
		{"flow", measureFlow},
		{"cold", measureCold},
		{"embedded", measureEmbedded},
		{"slots", measureSlots},
		{"latency", measureLatency},
		{"inflight", measureInFlight},
		{"outage", measureOutage},
		{"start", measureStart},
		{"growth", measureGrowth},
	}
}

// run runs the suites one after the other. One that fails takes nothing from the others.
func (b *bench) run(ctx context.Context, pick *regexp.Regexp, measured []suite) (*report, error) {
	r := newReport(ctx, b.quick)
	var errs []error
	for _, s := range measured {
		if !pick.MatchString(s.name) || ctx.Err() != nil {
			continue
		}
		b.note("%s", s.name)
		rows, err := s.run(ctx, b)
		r.Rows = append(r.Rows, rows...)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
			b.note("%s: %v", s.name, err)
		}
	}
	r.finish()
	return r, errors.Join(append(errs, ctx.Err())...)
}

// inTurns runs the functions in their order in even rounds and in the opposite order in odd ones, so that none of them
// always profits from coming first.
func inTurns(round int, fs ...func() error) error {
	for i := range fs {
		if round%2 == 1 {
			i = len(fs) - 1 - i
		}
		if err := fs[i](); err != nil {
			return err
		}
	}
	return nil
}
