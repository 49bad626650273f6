package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// report is the outcome of a run.
type report struct {
	Machine machine `json:"machine"`
	Quick   bool    `json:"quick"`
	Began   string  `json:"began"`   // RFC 3339
	Seconds float64 `json:"seconds"` // the run took
	Rows    []row   `json:"rows"`

	began time.Time
}

// machine is where the figures come from.
type machine struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	Kernel     string `json:"kernel"`
	Go         string `json:"go"`
	NATS       string `json:"nats"`
	Commit     string `json:"commit"`
	LoadBefore string `json:"load_before"` // 1, 5 and 15 minutes: the bench wants the machine for itself
	LoadAfter  string `json:"load_after"`
}

func newReport(ctx context.Context, quick bool) *report {
	now := time.Now()
	return &report{Quick: quick, Began: now.UTC().Format(time.RFC3339), began: now, Machine: machine{
		CPU:        cpuModel(),
		Cores:      runtime.NumCPU(),
		Kernel:     firstWords("/proc/sys/kernel/osrelease", 1),
		Go:         runtime.Version(),
		NATS:       server.VERSION,
		Commit:     commit(ctx),
		LoadBefore: firstWords("/proc/loadavg", 3),
	}}
}

func (r *report) finish() {
	r.Seconds = time.Since(r.began).Seconds()
	r.Machine.LoadAfter = firstWords("/proc/loadavg", 3)
}

// print writes the table.
func (r *report) print(w io.Writer) {
	m := r.Machine
	fmt.Fprintf(w, "\n%s, %d cores, Linux %s, %s, nats-server %s, commit %s\n", m.CPU, m.Cores, m.Kernel, m.Go, m.NATS, m.Commit)
	fmt.Fprintf(w, "%.0f s, load %s before and %s after\n\n", r.Seconds, m.LoadBefore, m.LoadAfter)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "figure\tbridge\treference\tratio\tfrom … to\ttarget\tverdict")
	for _, row := range r.Rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", row.label(), inUnit(row.Bridge, row.Unit), row.reference(), row.ratio(),
			row.spread(), row.Target, row.Verdict)
	}
	_ = t.Flush() // the table goes to a terminal or a pipe that is gone with its reader
	if r.Quick {
		fmt.Fprintln(w, "\n* scaled down: a quick run shows what is broken, not what is true")
	}
	for _, row := range r.Rows {
		if row.Note != "" {
			fmt.Fprintf(w, "%s: %s\n", row.Figure, row.Note)
		}
	}
}

func (r row) label() string {
	if r.Scaled {
		return r.Figure + " *"
	}
	return r.Figure
}

func (r row) reference() string {
	if r.Reference == 0 {
		return ""
	}
	return inUnit(r.Reference, r.Unit)
}

func (r row) ratio() string {
	if r.Reference == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", r.Ratio)
}

func (r row) spread() string {
	if r.Pairs < 2 {
		return ""
	}
	if r.Judged == ratio {
		return fmt.Sprintf("%.2f … %.2f", r.Lowest, r.Highest)
	}
	return inUnit(r.Lowest, r.Unit) + " … " + inUnit(r.Highest, r.Unit)
}

// write writes the results as JSON.
func (r *report) write(file string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o644)
}

func cpuModel() string {
	data, _ := os.ReadFile("/proc/cpuinfo") // the report is as good without
	for line := range strings.Lines(string(data)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func firstWords(file string, n int) string {
	data, _ := os.ReadFile(file) // the report is as good without
	words := strings.Fields(string(data))
	return strings.Join(words[:min(n, len(words))], " ")
}

// commit names the commit of the working directory, which is what was built.
func commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
