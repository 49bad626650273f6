package bridge

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/dispatch"
	"github.com/klingbridge/klingbridge/bridge/request"
)

// AccountError tells what of the bridge's needs the limits of its NATS account leave no room for. It does not pass by
// itself.
type AccountError struct {
	Problems []string // such as "this account allows 3 streams (max_streams), the bridge needs 4"
}

func (e *AccountError) Error() string {
	return "the limits of the NATS account do not suffice: " + strings.Join(e.Problems, "; ")
}

const (
	// minPayload is the smallest largest message of a server with which events come through, in bytes.
	minPayload = 2 * request.Room
	// eventReaders is how many consumers of the events stream there may be at once: polls, and readers that come and go.
	eventReaders = 5
)

// fitAccount returns the options with the sizes that the account demands, or an [*AccountError]. An account that can't be
// asked is left to the streams, whose creation it may refuse.
func fitAccount(ctx context.Context, b *bus.Bus, o Options) (Options, error) {
	account, err := b.JetStream().AccountInfo(ctx)
	if _, answered := errors.AsType[*jetstream.APIError](err); answered {
		return o, fmt.Errorf("JetStream account: %w", err)
	}
	if err != nil {
		return o, ctx.Err()
	}
	o = o.ForAccount(account)
	if problems := CheckAccount(ctx, b, account, o); len(problems) > 0 {
		return o, &AccountError{Problems: problems}
	}
	return o, nil
}

// ForAccount returns the options as they are on that account: with a size for every stream where it demands one.
func (o Options) ForAccount(account *jetstream.AccountInfo) Options {
	o = o.withDefaults()
	if limits, ok := limitsOf(account, o.StreamReplicas); ok && limits.Limits.MaxBytesRequired {
		o.StreamMaxBytes = o.StreamMaxBytes.orDemanded()
	}
	return o
}

// limitsOf returns those of a stream with so many replicas: an account may have other ones for each number.
func limitsOf(account *jetstream.AccountInfo, replicas int) (t jetstream.Tier, ok bool) {
	if len(account.Tiers) == 0 {
		return account.Tier, true
	}
	t, ok = account.Tiers[fmt.Sprintf("R%d", replicas)]
	return t, ok
}

// CheckAccount lists what the account does not allow of what the streams and consumers need, a line each. It creates
// nothing.
func CheckAccount(ctx context.Context, b *bus.Bus, account *jetstream.AccountInfo, o Options) []string {
	o = o.ForAccount(account)
	t, ok := limitsOf(account, o.StreamReplicas)
	if !ok {
		return []string{fmt.Sprintf("this account has no limits for %d replicas, only for %s: set BRIDGE_STREAM_REPLICAS",
			o.StreamReplicas, strings.Join(slices.Sorted(maps.Keys(account.Tiers)), ", "))}
	}
	c := accountCheck{limits: t.Limits, used: t, copies: 1, o: o, streams: CompareStreams(ctx, b, o)}
	if len(account.Tiers) == 0 {
		c.copies = int64(o.StreamReplicas) // a tier's limits are of one replica
	}
	made, err := b.Consumers(ctx, c.o.Subjects.RequestsStream())
	if err != nil {
		made = nil // there is no stream yet
	}
	return slices.Concat(c.streamCount(), c.consumers(made), c.storage(), c.sizes(), payload(b.MaxPayload()))
}

// accountCheck compares the limits of an account with what the bridge needs.
type accountCheck struct {
	limits  jetstream.AccountLimits
	used    jetstream.Tier
	copies  int64 // that count, of every byte
	o       Options
	streams []StreamState
}

func (c accountCheck) streamCount() []string {
	most, need, missing := c.limits.MaxStreams, len(c.streams), 0
	for _, s := range c.streams {
		if !s.exists() {
			missing++
		}
	}
	others := max(c.used.Streams-(need-missing), 0)
	if most <= 0 || missing == 0 || others+need <= most {
		return nil
	}
	problem := fmt.Sprintf("this account allows %d streams (max_streams), the bridge needs %d", most, need)
	if others > 0 {
		problem += fmt.Sprintf(" and there are %d others", others)
	}
	return []string{problem}
}

// consumers are counted for each stream by itself. The lanes are the many; made once, they stay.
func (c accountCheck) consumers(existing []jetstream.ConsumerConfig) []string {
	in := &dispatch.Intake{Subjects: c.o.Subjects, Kinds: c.o.Kinds}
	lanes := in.AllLanes()
	made := map[string]bool{}
	for _, consumer := range existing {
		made[consumer.Durable] = true
	}
	missing := slices.ContainsFunc(lanes, func(key dispatch.Lane) bool { return !made[key.Durable()] })
	most, need := c.limits.MaxConsumers, max(len(lanes), eventReaders)
	if most <= 0 || !missing || need <= most {
		return nil
	}
	return []string{fmt.Sprintf("this account allows %d consumers of a stream (max_consumers), the bridge needs %d of %s",
		most, need, c.o.Subjects.RequestsStream())}
}

// storage wants room for all that the sizes reserve.
func (c accountCheck) storage() []string {
	most := c.limits.MaxStore
	if most == 0 {
		return []string{"this account allows no file storage (max_file is 0)"}
	}
	var need, own int64
	for _, s := range c.streams {
		need += s.want.MaxBytes * c.copies
		own += max(s.have.MaxBytes, 0) * c.copies
	}
	others := max(int64(c.used.ReservedStore)-own, 0)
	if most < 0 || need <= own || need <= most-others {
		return nil
	}
	problem := fmt.Sprintf("this account allows %s of storage (max_file), the streams take %s (%s)",
		showBytes(most), showBytes(need), c.o.StreamMaxBytes)
	if c.copies > 1 {
		problem += fmt.Sprintf(" in %d replicas", c.copies)
	}
	if others > 0 {
		problem += fmt.Sprintf(" and others have reserved %s", showBytes(others))
	}
	return []string{problem + ": set BRIDGE_STREAM_MAX_BYTES"}
}

// sizes wants each stream to be of a size that is allowed.
func (c accountCheck) sizes() []string {
	var problems []string
	for _, s := range c.streams {
		if most := c.limits.StoreMaxStreamBytes; most > 0 && s.want.MaxBytes > most {
			problems = append(problems, fmt.Sprintf("this account allows %s for a stream (disk_max_stream_bytes), %s takes %s: set BRIDGE_STREAM_MAX_BYTES",
				showBytes(most), s.Name, showBytes(s.want.MaxBytes)))
		}
	}
	if c.limits.MaxBytesRequired && c.o.Archive.InBucket() && c.o.StreamMaxBytes.Archive == 0 {
		problems = append(problems, "this account demands a size for every stream (max_bytes_required), and the archive's bucket has none: "+
			"add archive=… to BRIDGE_STREAM_MAX_BYTES")
	}
	return problems
}

func payload(most int64) []string {
	if most >= minPayload {
		return nil
	}
	return []string{fmt.Sprintf("the server takes messages of up to %s (max_payload), the bridge needs %s", showBytes(most), showBytes(minPayload))}
}

// showBytes writes bytes in the unit that keeps the number short.
func showBytes(n int64) string {
	value, units := float64(n), []string{"B", "KiB", "MiB", "GiB", "TiB"}
	for len(units) > 1 && value >= 1024 {
		value, units = value/1024, units[1:]
	}
	return fmt.Sprintf("%.4g %s", value, units[0])
}
