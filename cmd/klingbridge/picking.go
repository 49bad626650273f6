package main

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/klingbridge/klingbridge/config"
	"github.com/klingbridge/klingbridge/events"
)

// What events may have as their status, by their type.
var (
	progressStatuses   = []events.Status{events.StatusSubmitted, events.StatusProcessing, events.StatusRetrying}
	completionStatuses = []events.Status{
		events.StatusSucceed, events.StatusFailed, events.StatusRejected, events.StatusExpired, events.StatusCancelled,
	}
)

var accountName = regexp.MustCompile(`^[a-z0-9-]{1,16}$`)

// picking is what the flags say by which events are picked.
type picking struct {
	kind, status, id, since string

	statuses []events.Status // that those events may have
}

// addFlags lets the user pick among events that noun calls so, with these statuses.
func (k *picking) addFlags(p *program, cmd *cobra.Command, noun, since string, statuses ...events.Status) {
	k.statuses = statuses
	f := cmd.Flags()
	f.StringVar(&k.kind, "kind", "", fmt.Sprintf("only %s of this `kind`", noun))
	f.StringVar(&k.status, "status", "", fmt.Sprintf("only %s with this `status`", noun))
	f.StringVar(&k.id, "id", "", fmt.Sprintf("only %s of this request `id`", noun))
	f.StringVar(&k.since, "since", "", fmt.Sprintf("also past %s: a `duration` such as 24h, or a time such as 2026-11-01T12:00:00Z%s", noun, since))
	p.completeFlags(cmd, statuses...)
}

// filter checks the flags.
func (k picking) filter(now time.Time) (events.Filter, error) {
	f := events.Filter{Kind: k.kind, Status: events.Status(k.status), ID: k.id}
	if k.status != "" && !slices.Contains(k.statuses, f.Status) {
		return f, usagef("--status %q is not one of %s", k.status, words(k.statuses))
	}
	if err := checkKind(k.kind); err != nil {
		return f, err
	}
	if err := checkID("--id", k.id); err != nil {
		return f, err
	}
	var err error
	f.Since, err = parseSince(k.since, now)
	return f, err
}

// checkKind refuses what no kind is called. The bridge may know more kinds than this program.
func checkKind(kind string) error {
	if kind != "" && !events.IsToken(kind) {
		return usagef("--kind %q is not 1 to 64 of A-Z a-z 0-9 _ -", kind)
	}
	return nil
}

// checkID refuses an id that no request has.
func checkID(name, id string) error {
	if len(id) > events.MaxRequestID {
		return usagef("%s %.140q is not 1 to %d bytes but %d", name, id, events.MaxRequestID, len(id))
	}
	return nil
}

// checkAccount refuses what no account is called.
func checkAccount(name string) error {
	if name != "" && !accountName.MatchString(name) {
		return usagef("--account %q is not 1 to 16 of a-z 0-9 -", name)
	}
	return nil
}

// parseSince reads a --since; the zero time where there is none.
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := config.ParseDuration(text); err == nil {
		if d <= 0 {
			return time.Time{}, usagef("--since %s is not above zero", text)
		}
		return now.Add(-d), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, usagef("--since %q is neither a duration (24h) nor a time (2026-11-01T12:00:00Z)", text)
	}
	return at, nil
}
