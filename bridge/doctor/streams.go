package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/bus"
)

// compareStreams says of each stream what serve would do with it.
func (e *examination) compareStreams(ctx context.Context) []Finding {
	e.streams = bridge.CompareStreams(ctx, e.bus, e.Bridge)
	var findings []Finding
	var right, missing []string
	for _, s := range e.streams {
		conflict, isConflict := errors.AsType[*bus.ConflictError](s.Err)
		switch {
		case isConflict:
			findings = append(findings, fault(s.Name+" can't be used: "+strings.Join(conflict.Differences, "; "),
				conflictAdvice(s))...)
		case errors.Is(s.Err, jetstream.ErrStreamNotFound):
			taken := e.taken(ctx, s)
			findings = append(findings, taken...)
			if taken == nil {
				missing = append(missing, s.Name)
			}
		case s.Err != nil:
			findings = append(findings, fault(s.Err.Error(), "may this user publish on $JS.API.>?")...)
		case len(s.Updates) > 0:
			findings = append(findings, note(s.Name+": "+strings.Join(s.Updates, "; "), "serve changes it when it starts")...)
		default:
			right = append(right, s.Name)
		}
	}
	if _, runs := e.status(ctx); runs && len(missing) > 0 {
		findings = append(findings, fault(strings.Join(missing, ", ")+": missing, although a bridge runs",
			"it makes them anew, unless readiness says what keeps it from that; what they held is lost")...)
	} else if len(missing) > 0 {
		findings = append(findings, note(strings.Join(missing, ", ")+": not there yet", "serve creates them when it starts")...)
	}
	if len(right) > 0 {
		findings = append(findings, ok("%s: as they should be", strings.Join(right, ", "))...)
	}
	return findings
}

// conflictAdvice is other advice for a stream of the bridge's own that somebody has bounded.
func conflictAdvice(s bridge.StreamState) string {
	if len(s.Bounds) == 0 {
		return "move that stream away, or set BRIDGE_SUBJECT_PREFIX to work beside it"
	}
	return "it loses what was acknowledged: nats stream edit " + s.Name + " --max-msgs=-1 --max-bytes=-1; BRIDGE_STREAM_MAX_BYTES bounds streams without that"
}

// taken finds a stream that has a subject of a missing one, which could then not be created.
func (e *examination) taken(ctx context.Context, s bridge.StreamState) []Finding {
	for _, subject := range s.Subjects {
		name, err := e.bus.JetStream().StreamNameBySubject(ctx, subject)
		if err == nil {
			return fault(fmt.Sprintf("%s can't be created: its subject %s belongs to the stream %s", s.Name, subject, name),
				"take the subject from that stream, or set BRIDGE_SUBJECT_PREFIX to work beside it")
		}
	}
	return nil
}

func (e *examination) replicas(context.Context) []Finding {
	cluster := e.bus.Conn().ConnectedClusterName()
	want := max(e.Bridge.StreamReplicas, 1)
	if cluster == "" {
		if want > 1 {
			return fault(fmt.Sprintf("BRIDGE_STREAM_REPLICAS is %d, but the NATS server is not in a cluster", want),
				"leave BRIDGE_STREAM_REPLICAS out, or run a cluster")
		}
		return ok("1, on a server that is alone")
	}
	const advice = "set BRIDGE_STREAM_REPLICAS=3: serve then adds the replicas"
	if want == 1 {
		return warning("streams have 1 replica on the cluster "+cluster+": they are away, or lost, with one server", advice)
	}
	var single []string
	for _, s := range e.streams {
		if s.Replicas == 1 {
			single = append(single, s.Name)
		}
	}
	if len(single) > 0 {
		return warning(strings.Join(single, ", ")+" have 1 replica on the cluster "+cluster, "start serve, which adds the replicas")
	}
	return ok("%d, on the cluster %s", want, cluster)
}
