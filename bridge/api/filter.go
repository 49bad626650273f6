package api

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// taskFilter is what a list of tasks is asked for, found to make sense.
type taskFilter struct {
	kind     string          // empty: any
	statuses []events.Status // empty: any
	source   events.Source   // empty: any
	since    time.Time       // zero: all
	meta     map[string]string
	prefix   string // of the request id
}

// unended are the statuses of requests that have not ended.
var unended = []events.Status{
	events.StatusWaiting, events.StatusCreating, events.StatusSubmitted, events.StatusProcessing, events.StatusRetrying,
}

func newTaskFilter(q events.TaskQuery, kinds kling.Kinds) (taskFilter, error) {
	f := taskFilter{kind: q.Kind, statuses: q.Statuses, source: q.Source, since: q.Since.Time, meta: q.Metadata,
		prefix: q.Prefix}
	if _, ok := kinds.Lookup(q.Kind); !ok && q.Kind != "" {
		return f, refusef(http.StatusBadRequest, "kind: there is no kind %q", q.Kind)
	}
	sources := []events.Source{"", events.SourceCallback, events.SourcePoll, events.SourceBridge}
	if !slices.Contains(sources, q.Source) {
		return f, refusef(http.StatusBadRequest, "source: want callback, poll or bridge, got %q", q.Source)
	}
	for _, s := range q.Statuses {
		if !s.Terminal() && !slices.Contains(unended, s) {
			return f, refusef(http.StatusBadRequest, "status: want %s, succeed, failed, rejected, expired or cancelled, got %q",
				joined(unended), s)
		}
	}
	return f, nil
}

func joined(statuses []events.Status) string {
	words := make([]string, len(statuses))
	for i, s := range statuses {
		words[i] = string(s)
	}
	return strings.Join(words, ", ")
}

// wants reports whether any of these statuses is asked for.
func (f taskFilter) wants(some ...events.Status) bool {
	return len(f.statuses) == 0 || slices.ContainsFunc(some, func(s events.Status) bool { return slices.Contains(f.statuses, s) })
}

// wantsSection reports whether a section may hold what is asked for.
func (f taskFilter) wantsSection(s section) bool {
	switch {
	case s == sectionEnded:
		return f.wants(events.StatusSucceed, events.StatusFailed, events.StatusRejected, events.StatusExpired, events.StatusCancelled)
	case f.source != "": // only what has ended has one
		return false
	case s == sectionInFlight:
		return f.wants(events.StatusCreating, events.StatusSubmitted, events.StatusProcessing, events.StatusRetrying)
	default: // a request in the stream waits, or is listed there while it is being created
		return f.wants(events.StatusWaiting)
	}
}

// endStatus is the one that completions must have, as a token of their subject.
func (f taskFilter) endStatus() events.Status {
	if len(f.statuses) == 1 {
		return f.statuses[0]
	}
	return "*"
}

// wantsEnd reports whether a request that has ended is asked for.
func (f taskFilter) wantsEnd(t *events.Task) bool {
	return f.wants(t.Status) && (f.source == "" || f.source == t.Source) && f.wantsNamed(t)
}

// wantsNamed reports whether a request has the id and all the metadata that are asked for. Names of metadata are taken in any
// case, as those of the headers are.
func (f taskFilter) wantsNamed(t *events.Task) bool {
	if !strings.HasPrefix(t.RequestID, f.prefix) {
		return false
	}
	for name, value := range f.meta {
		if !hasMeta(t.Metadata, name, value) {
			return false
		}
	}
	return true
}

func hasMeta(meta map[string]string, name, value string) bool {
	if meta[name] == value {
		_, ok := meta[name]
		return ok
	}
	for n, v := range meta {
		if strings.EqualFold(n, name) && v == value {
			return true
		}
	}
	return false
}
