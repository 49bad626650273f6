package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// child is a process that the bench started. It ends with the context it was started with.
type child struct {
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Scanner
	log   string // file of stderr
}

// start runs a command, whose stderr goes to a file.
func (b *bench) start(ctx context.Context, name string, env []string, command string, args ...string) (*child, error) {
	log, err := os.CreateTemp(b.dir, name+"-*.log")
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own
	cmd := exec.CommandContext(ctx, command, args...)
	cmd.Env, cmd.Stderr = env, log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return &child{name: name, cmd: cmd, stdin: stdin, lines: bufio.NewScanner(stdout), log: log.Name()}, nil
}

// startSelf runs this executable as one of its commands, which prints where it listens once it does.
func (b *bench) startSelf(ctx context.Context, command string, args ...string) (c *child, addr string, err error) {
	c, err = b.start(ctx, command, os.Environ(), b.self, append([]string{command}, args...)...)
	if err != nil {
		return nil, "", err
	}
	addr, err = c.line()
	if err != nil {
		c.stop()
		return nil, "", err
	}
	return c, addr, nil
}

// line returns the next line of the process's output.
func (c *child) line() (string, error) {
	if c.lines.Scan() {
		return c.lines.Text(), nil
	}
	return "", c.failed(errors.New("ended without a word"))
}

// failed adds the end of the process's log to an error.
func (c *child) failed(err error) error {
	data, _ := os.ReadFile(c.log) // without it the error has to do
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return fmt.Errorf("%s: %w\n%s", filepath.Base(c.log), err, strings.Join(lines[max(0, len(lines)-10):], "\n"))
}

// ask writes a line to the process and returns its answer.
func (c *child) ask(question string) (string, error) {
	if _, err := io.WriteString(c.stdin, question+"\n"); err != nil {
		return "", c.failed(err)
	}
	return c.line()
}

// stop ends the process as an operator would, and returns when it is gone. It may be called twice.
func (c *child) stop() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // one that is gone need not be told
	_ = c.stdin.Close()
	stuck := time.AfterFunc(stopTime, func() { _ = c.cmd.Process.Kill() })
	defer stuck.Stop()
	for c.lines.Scan() { // until its output ends, and it with that
		continue
	}
	_ = c.cmd.Wait() // how it ended is of no interest any more
}

// stopTime is what a process has to end by itself.
const stopTime = 30 * time.Second

// usage is what the operating system says that a process has used. Memory is its own: what it has read of its file is the
// file's, and given up before anything else is.
type usage struct {
	cpu    time.Duration // user and system
	memory int64         // bytes, now
	peak   int64         // bytes, the most ever, beside as much of its file as now
}

// ticksPerSecond is the unit of CPU times in /proc on every Linux that Go runs on.
const ticksPerSecond = 100

func (c *child) usage() (usage, error) {
	proc := filepath.Join("/proc", strconv.Itoa(c.cmd.Process.Pid))
	stat, err := os.ReadFile(filepath.Join(proc, "stat"))
	if err != nil {
		return usage{}, c.failed(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // the name may hold anything
	fields := strings.Fields(rest)
	const user, system = 11, 12 // fields 14 and 15, counted from the third
	if len(fields) <= system {
		return usage{}, fmt.Errorf("%s/stat: %d fields", proc, len(fields))
	}
	var u usage
	for _, field := range []string{fields[user], fields[system]} {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return usage{}, err
		}
		u.cpu += time.Duration(ticks) * time.Second / ticksPerSecond
	}
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		return usage{}, c.failed(err)
	}
	var most, file int64
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		kilobytes, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch name {
		case "RssAnon":
			u.memory = kilobytes << 10
		case "RssFile":
			file = kilobytes << 10
		case "VmHWM":
			most = kilobytes << 10
		}
	}
	u.peak = most - file
	return u, nil
}

// cpuDuring returns the CPU time that the process takes while f runs.
func (c *child) cpuDuring(f func() error) (time.Duration, error) {
	before, err := c.usage()
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	after, err := c.usage()
	return after.cpu - before.cpu, err
}

// freeAddrs returns addresses on which nobody listens.
func freeAddrs(ctx context.Context, n int) (addrs []string, err error) {
	for range n {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }() // all at the end, or one would be given twice
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

// sleep waits, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// until looks at a condition every few milliseconds until it holds.
func until(ctx context.Context, what string, holds func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("waited %s in vain until %s", patience, what))
	defer cancel()
	for {
		ok, err := holds()
		if ok || err != nil {
			return err
		}
		if sleep(ctx, 2*time.Millisecond) != nil {
			return context.Cause(ctx)
		}
	}
}

// patience is how long the next thing that must happen is waited for.
const patience = 3 * time.Minute
