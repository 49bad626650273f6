package console

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/klingbridge/klingbridge/events"
)

// activityView is the last hour as the page shows it. Times are in milliseconds.
type activityView struct {
	Ready   bool         `json:"ready"`   // false: loading, the numbers are not complete
	Minutes []minuteView `json:"minutes"` // all of the last hour, oldest first
	Succeed int          `json:"succeed"`
	Other   int          `json:"other"` // completions that did not succeed
	P50     *int64       `json:"p50"`   // from request to completion; null: none
	P95     *int64       `json:"p95"`

	Callback int `json:"callback"`
	Poll     int `json:"poll"`
	Bridge   int `json:"bridge"`

	Units   float64     `json:"units"`
	Kinds   []shareView `json:"kinds"` // most units first
	Tenants []shareView `json:"tenants"`

	Events []eventView `json:"events"` // newest first
}

type minuteView struct {
	At      events.Time `json:"at"`
	Succeed int         `json:"succeed"`
	Other   int         `json:"other"`
	P50     *int64      `json:"p50"`
	P95     *int64      `json:"p95"`
}

type shareView struct {
	Name  string  `json:"name"`
	Units float64 `json:"units"`
}

func (a *activity) view(now time.Time) activityView {
	v := activityView{Ready: a.ready, Events: []eventView{}}
	var times histogram
	kinds, tenants := units{}, units{}
	for at := oldest(now); at < oldest(now)+activityMinutes; at++ {
		line := minuteView{At: events.At(time.Unix(at*60, 0))}
		if m := a.minutes[at]; m != nil {
			line.Succeed, line.Other = m.succeed, m.other
			line.P50, line.P95 = m.times.quantile(0.5), m.times.quantile(0.95)
			v.Succeed += m.succeed
			v.Other += m.other
			v.Callback += m.callback
			v.Poll += m.poll
			v.Bridge += m.bridge
			times.merge(&m.times)
			kinds.merge(m.kinds)
			tenants.merge(m.tenants)
		}
		v.Minutes = append(v.Minutes, line)
	}
	v.P50, v.P95 = times.quantile(0.5), times.quantile(0.95)
	v.Kinds, v.Units = kinds.view()
	v.Tenants, _ = tenants.view()
	for _, e := range slices.Backward(a.newest[max(0, len(a.newest)-newestEvents):]) {
		v.Events = append(v.Events, e)
	}
	return v
}

// units sums up what was spent, by name.
type units map[string]float64

func (u units) add(name string, spent float64) {
	if _, known := u[name]; !known && len(u) >= maxNames {
		name = otherName
	}
	u[name] += spent
}

func (u units) merge(from units) {
	for name, spent := range from {
		u[name] += spent
	}
}

// view returns the names that cost most, the others in one line, and the sum of all.
func (u units) view() (shares []shareView, total float64) {
	shares = []shareView{}
	rest := u[otherName]
	for name, spent := range u {
		total += spent
		if name != otherName {
			shares = append(shares, shareView{name, round(spent)})
		}
	}
	slices.SortFunc(shares, func(a, b shareView) int {
		return cmp.Or(cmp.Compare(b.Units, a.Units), cmp.Compare(a.Name, b.Name))
	})
	for len(shares) > maxNames {
		rest += shares[len(shares)-1].Units
		shares = shares[:len(shares)-1]
	}
	if rest > 0 {
		shares = append(shares, shareView{otherName, round(rest)})
	}
	return shares, round(total)
}

// round takes off what adding up binary fractions has left of decimal ones.
func round(f float64) float64 { return math.Round(f*1e6) / 1e6 }

// histogram counts durations in buckets that grow by an eighth of a power of two each: a quantile is right to 9 %.
type histogram struct {
	total  int
	counts [histogramBuckets]uint32
}

const (
	subBuckets       = 8
	histogramBuckets = 36 * subBuckets // milliseconds up to a year
)

func bucketOf(ms int64) int {
	if ms < subBuckets {
		return int(max(ms, 0))
	}
	octave := bits.Len64(uint64(ms)) - 4 // of 8 to 15 ms: 0
	return min((octave+1)*subBuckets+int(ms>>octave)-subBuckets, histogramBuckets-1)
}

// middle is the duration in milliseconds that stands for a bucket.
func middle(bucket int) int64 {
	if bucket < subBuckets {
		return int64(bucket)
	}
	octave := bucket/subBuckets - 1
	low := int64(subBuckets+bucket%subBuckets) << octave
	return low + int64(1)<<octave/2
}

func (h *histogram) add(d time.Duration) {
	h.counts[bucketOf(d.Milliseconds())]++
	h.total++
}

func (h *histogram) merge(from *histogram) {
	h.total += from.total
	for i, n := range from.counts {
		h.counts[i] += n
	}
}

// quantile is nil where there is nothing.
func (h *histogram) quantile(q float64) *int64 {
	if h.total == 0 {
		return nil
	}
	rank := int(math.Ceil(q * float64(h.total)))
	for bucket, n := range h.counts {
		if rank -= int(n); rank <= 0 {
			ms := middle(bucket)
			return &ms
		}
	}
	return nil
}
