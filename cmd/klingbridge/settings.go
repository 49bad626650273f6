package main

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/jsm.go/natscontext"

	"github.com/klingbridge/klingbridge/bridge/archive"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/config"
	"github.com/klingbridge/klingbridge/events"
)

// settings is the environment, read and found in order.
type settings struct {
	config.Config
	kinds     kling.Kinds
	subjects  events.Subjects
	archive   archive.Options
	simulated bool // Kling is
	log       *slog.Logger
}

// settings reads the environment. Its error is a [config.Faults] with everything that is wrong. With needKling missing
// credentials are wrong too.
func (p *program) settings(needKling bool) (settings, error) {
	s, faults := p.readSettings(needKling)
	if err := faults.Err(); err != nil {
		return settings{}, err
	}
	for _, name := range s.Unknown {
		s.log.Warn("unknown environment variable, is it misspelt?", "variable", name)
	}
	for _, name := range s.Unused {
		s.log.Warn("environment variable counts for nothing: KLING_ACCOUNTS names accounts, which have their own", "variable", name)
	}
	return s, nil
}

// readSettings fills in what it can where something is wrong.
func (p *program) readSettings(needKling bool) (settings, config.Faults) {
	c, err := config.Load(p.environ)
	faults, _ := errors.AsType[config.Faults](err)
	if needKling {
		faults = append(faults, c.RequireKling()...)
	}
	s := settings{Config: c}
	if s.subjects, err = events.NewSubjects(c.SubjectPrefix); err != nil {
		faults = append(faults, config.Fault{Variable: "BRIDGE_SUBJECT_PREFIX", Problem: err.Error()})
	}
	if s.kinds, err = kling.DefaultKinds().With(c.ExtraKinds); err != nil {
		faults = append(faults, config.Fault{Variable: "BRIDGE_EXTRA_KINDS", Problem: err.Error()})
		s.kinds = kling.DefaultKinds()
	}
	if c.NATSContext != "" && !natscontext.IsKnown(c.NATSContext) {
		faults = append(faults, config.Fault{
			Variable: "NATS_CONTEXT",
			Problem:  fmt.Sprintf("there is no context %q (nats context ls lists them)", c.NATSContext),
		})
	}
	faults = append(faults, unknownPools(c, "BRIDGE_CONCURRENCY", c.Concurrency, s.kinds.Pools())...)
	for _, a := range c.Accounts() {
		faults = append(faults, unknownPools(c, a.Variable("KLING_CONCURRENCY"), a.Concurrency, s.kinds.Pools())...)
		if err := kling.CheckAPIKey(a.APIKey.Reveal()); err != nil { // which the client would only say without the name
			faults = append(faults, config.Fault{Variable: a.Variable("KLING_API_KEY"), Problem: err.Error()})
		}
	}
	if needKling { // that is, where a bridge is run
		faults = append(faults, exporterFaults(p.environ)...)
	}
	var archiveFaults config.Faults
	s.archive, archiveFaults = archiveOptions(c)
	faults = append(faults, archiveFaults...)
	s.log = newLogger(p.log, c.LogLevel, c.LogFormat)
	return s, faults
}

// archiveOptions are zero where results are not archived.
func archiveOptions(c config.Config) (archive.Options, config.Faults) {
	var faults config.Faults
	allow, err := archive.ParseHosts(c.ArchiveAllowHosts)
	if err != nil {
		faults = append(faults, config.Fault{Variable: "BRIDGE_ARCHIVE_ALLOW_HOSTS", Problem: oneLine(err)})
	}
	if c.ArchiveURL == "" {
		return archive.Options{}, faults
	}
	target, err := archive.ParseTarget(c.ArchiveURL)
	if err != nil {
		faults = append(faults, config.Fault{Variable: "BRIDGE_ARCHIVE_URL", Problem: oneLine(err)})
	}
	return archive.Options{Target: target, Allow: allow, MaxBytes: c.ArchiveMaxBytes}, faults
}

// oneLine shows joined errors as the one line that a fault has.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// unknownPools lets pass a pool that a kind names which itself could not be read.
func unknownPools(c config.Config, variable string, caps config.Concurrency, known []kling.Pool) config.Faults {
	var faults config.Faults
	for _, pool := range slices.Sorted(maps.Keys(caps)) {
		if !slices.Contains(known, kling.Pool(pool)) && !strings.Contains(c.ExtraKinds, ":"+pool) {
			faults = append(faults, config.Fault{
				Variable: variable,
				Problem:  "there is no pool " + pool + " (there are " + joinPools(known) + ")",
			})
		}
	}
	return faults
}

func joinPools(pools []kling.Pool) string {
	var list string
	for i, pool := range pools {
		if i > 0 {
			list += ", "
		}
		list += string(pool)
	}
	return list
}
