package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klingbridge/klingbridge/events"
)

// maxLine is the longest line of a file of requests, in bytes.
const maxLine = 16 << 20

// submitLines publishes a request for each line of a file and, if asked to, waits for all of them.
func (p *program) submitLines(ctx context.Context, s submission) error {
	requests, err := p.requestLines(s)
	if err != nil {
		return err
	}
	settings, err := p.settings(false)
	if err != nil {
		return err
	}
	for i, r := range requests {
		if _, err := r.msg(settings.subjects); err != nil {
			return usagef("line %d: %w", i+1, err)
		}
	}
	p.warnOfModels(settings.kinds, requests...)
	if err := s.checkDownload(); err != nil {
		return err
	}
	return p.submitting(ctx, settings, func(ctx context.Context, nc *link) error {
		began := time.Now()
		ids, err := p.publishAll(ctx, nc.client, requests, s, settings)
		if err != nil {
			return err
		}
		resumable := "; the same command goes on with them"
		if s.id == "" {
			resumable = "; the same command would make new ones, since --id does not name them"
		}
		fmt.Fprintf(p.stderr, "%d requests are stored%s\n", len(ids), resumable)
		if !s.wait && s.download == "" {
			return nil
		}
		return p.awaitAll(ctx, nc.client, ids, s, began)
	})
}

// publishAll stores the requests, and prints their ids where nothing else will be printed of them.
func (p *program) publishAll(
	ctx context.Context, client *events.Client, requests []request, s submission, settings settings,
) ([]string, error) {
	ids := make([]string, 0, len(requests))
	for i, r := range requests {
		id, err := p.publish(ctx, client, r, settings)
		if err != nil {
			return nil, fmt.Errorf("line %d, after %d requests were stored: %w", i+1, len(ids), err)
		}
		ids = append(ids, id)
		if s.wait || s.download != "" {
			continue
		}
		if err := p.printID(id, s.asJSON); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// requestLines reads the bodies, one a line. The requests are named after --id and the number of their line, so that the
// same command given again makes nothing anew.
func (p *program) requestLines(s submission) ([]request, error) {
	if s.file == "" {
		return nil, usagef("--lines wants a file, or - for stdin")
	}
	raw, err := p.readFile(s.file)
	if err != nil {
		return nil, err
	}
	var requests []request
	lines := bufio.NewScanner(bytes.NewReader(raw))
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		r, err := p.newRequest(s)
		if err != nil {
			return nil, err
		}
		if s.id != "" {
			r.ID = fmt.Sprintf("%s-%d", s.id, n)
		}
		if r.body, err = changedBody(slices.Clone(line), fmt.Sprintf("line %d", n), s, nil); err != nil {
			return nil, err
		}
		requests = append(requests, r)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", bodyName(s.file), err)
	}
	if len(requests) == 0 {
		return nil, usagef("%s holds no request", bodyName(s.file))
	}
	return requests, nil
}

// awaitAll reports each end as it comes, and sums up.
func (p *program) awaitAll(ctx context.Context, client *events.Client, ids []string, s submission, began time.Time) error {
	t := &tally{ids: ids, left: map[string]bool{}, ended: map[events.Status]int{}}
	for _, id := range ids {
		t.left[id] = true
	}
	line := p.newLive()
	going := func(context.Context) (string, bool) { return t.String(), true }
	_, err := whileUneasy(ctx, client, "", line.say, func() error {
		return line.while(ctx, liveInterval, going, func() error {
			return line.tellWaits(ctx, askAbout(client, t.last), lineWaits, func() error { return p.followAll(ctx, client, t, line, s) })
		})
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stderr, "%s in %s\n", t, time.Since(began).Round(time.Second))
	for _, m := range t.succeeded {
		if s.download == "" {
			break
		}
		if err := p.download(ctx, s.download, events.Token(m.Event.RequestID), resultFiles(m.Event.Result)); err != nil {
			return err
		}
	}
	if len(t.succeeded) < len(ids) {
		return errSilent
	}
	return nil
}

// followAll returns when all have ended. With ids of one's own some may have ended long ago.
func (p *program) followAll(ctx context.Context, client *events.Client, t *tally, line *live, s submission) error {
	filter := events.Filter{Types: []events.Type{events.TypeCompletion}, Since: line.began.Add(-time.Minute)}
	if s.id != "" {
		filter.Since = time.Unix(1, 0)
	}
	for m, err := range client.Watch(ctx, filter) {
		switch {
		case ctx.Err() != nil:
			return errors.New("interrupted; the requests go on")
		case err != nil && m.Subject == "":
			return err
		case err != nil:
			continue
		}
		mine, all := t.take(m)
		if !mine {
			continue
		}
		if m.Event.Kind != s.kind {
			return otherKind(m.Event)
		}
		if err := p.reportEnd(line, m, s.asJSON); err != nil || all {
			return err
		}
	}
	return errors.New("interrupted; the requests go on")
}

// tally counts the ends of many requests.
//
// Safe for concurrent use.
type tally struct {
	ids []string // in the order of the lines

	mu        sync.Mutex
	left      map[string]bool // ids
	ended     map[events.Status]int
	succeeded []events.Message
}

// take counts a completion, if it is of one of the requests, and reports whether it was the last.
func (t *tally) take(m events.Message) (mine, all bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.left[m.Event.RequestID] {
		return false, false
	}
	delete(t.left, m.Event.RequestID)
	t.ended[m.Event.Status]++
	if m.Event.Status == events.StatusSucceed {
		t.succeeded = append(t.succeeded, m)
	}
	return true, len(t.left) == 0
}

// last is the last of those that have not ended: while any waits, it does.
func (t *tally) last() (id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range slices.Backward(t.ids) {
		if t.left[id] {
			return id
		}
	}
	return ""
}

// lineWaits says what one of many requests waits for.
func lineWaits(task events.Task) string { return printable(task.RequestID) + "  " + waitInWords(task) }

// String says how many of all have ended, and how.
func (t *tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	var parts []string
	for _, status := range slices.Sorted(maps.Keys(t.ended)) {
		n += t.ended[status]
		parts = append(parts, fmt.Sprintf("%d %s", t.ended[status], status))
	}
	text := fmt.Sprintf("%d of %d ended", n, n+len(t.left))
	if n > 0 {
		text += ": " + strings.Join(parts, ", ")
	}
	return text
}

// reportEnd prints one completion: on stdout what is asked for, on stderr how it went.
func (p *program) reportEnd(line *live, m events.Message, asJSON bool) error {
	e := m.Event
	text := p.status(p.stderr, e.Status) + "  " + printable(e.RequestID)
	if e.Error != nil {
		text += "  " + printable(reason(e))
	}
	line.say(text)
	if asJSON {
		_, err := fmt.Fprintf(p.stdout, "%s\n", m.Raw)
		return err
	}
	for _, file := range resultFiles(e.Result) {
		if _, err := fmt.Fprintf(p.stdout, "%s  %s\n", printable(e.RequestID), file.url); err != nil {
			return err
		}
	}
	return nil
}
