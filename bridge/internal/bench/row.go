package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// pair is one measurement of the program and one of its reference, taken one right after the other.
type pair struct{ bridge, reference float64 }

// row is one figure with its verdict.
type row struct {
	Figure    string  `json:"figure"`
	Unit      string  `json:"unit"`                // of Bridge and Reference
	Bridge    float64 `json:"bridge"`              // median
	Reference float64 `json:"reference,omitempty"` // median; zero where there is none
	Ratio     float64 `json:"ratio,omitempty"`     // median of the pairs' ratios
	Judged    basis   `json:"judged"`              // which of them the target is about
	// Lowest and Highest are the extremes of what is judged over the pairs.
	Lowest  float64 `json:"lowest"`
	Highest float64 `json:"highest"`
	Pairs   int     `json:"pairs"`
	Target  string  `json:"target,omitempty"`
	Verdict string  `json:"verdict"` // holds, misses by …, or report
	Scaled  bool    `json:"scaled"`  // by a quick run: fewer pairs of less
	Note    string  `json:"note,omitempty"`
}

// target is what a figure should reach.
type target struct {
	of     basis
	least  bool // at least, else at most
	bound  float64
	spared bool // there is none: the figure is only reported
}

// basis is what of a figure is judged.
type basis string

const (
	ratio      basis = "ratio"      // to the reference
	value      basis = "value"      // the program's own
	difference basis = "difference" // to the reference
)

func atLeast(bound float64, of basis) target { return target{of: of, least: true, bound: bound} }
func atMost(bound float64, of basis) target  { return target{of: of, bound: bound} }
func reportOnly() target                     { return target{of: ratio, spared: true} }
func reportValue() target                    { return target{of: value, spared: true} } // where there is no reference

// judged returns what of a pair the target is about.
func (t target) judged(p pair) float64 {
	switch t.of {
	case ratio:
		return p.bridge / p.reference
	case difference:
		return p.bridge - p.reference
	default:
		return p.bridge
	}
}

// verdict compares with the bound. A miss says by how much of it.
func (t target) verdict(got float64) string {
	switch {
	case t.spared:
		return "report"
	case math.IsNaN(got):
		return "not measured"
	case t.least && got >= t.bound, !t.least && got <= t.bound:
		return "holds"
	default:
		return fmt.Sprintf("misses by %.0f %%", math.Max(1, 100*math.Abs(got-t.bound)/t.bound))
	}
}

func (t target) String(unit string) string {
	if t.spared {
		return ""
	}
	sign := "≤ "
	if t.least {
		sign = "≥ "
	}
	switch t.of {
	case ratio:
		return sign + strconv.FormatFloat(t.bound, 'g', 3, 64) + " ×"
	case difference:
		return sign + "+" + inUnit(t.bound, unit)
	default:
		return sign + inUnit(t.bound, unit)
	}
}

// judge makes a row of the pairs of one figure.
func (b *bench) judge(figure, unit string, t target, pairs []pair) row {
	var ours, references, ratios, judged []float64
	for _, p := range pairs {
		ours = append(ours, p.bridge)
		references = append(references, p.reference)
		judged = append(judged, t.judged(p))
		if p.reference != 0 {
			ratios = append(ratios, p.bridge/p.reference)
		}
	}
	r := row{
		Figure: figure, Unit: unit, Bridge: median(ours), Pairs: len(pairs), Judged: t.of, Target: t.String(unit),
		Verdict: t.verdict(median(judged)), Scaled: b.quick,
	}
	if len(judged) > 0 {
		r.Lowest, r.Highest = slices.Min(judged), slices.Max(judged)
	}
	if len(ratios) > 0 {
		r.Reference, r.Ratio = median(references), median(ratios)
	}
	return r
}

// median is the middle value, or the mean of the two in the middle. Of nothing it is NaN.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// The units of figures.
const (
	perSecond = "/s"
	seconds   = "s"
	bytesUsed = "B"
	share     = "%"
	plainly   = ""
)

// inUnit shows a value as people say it.
func inUnit(v float64, unit string) string {
	switch unit {
	case seconds:
		return duration(v)
	case bytesUsed:
		return fmt.Sprintf("%.1f MB", v/(1<<20))
	case share:
		return fmt.Sprintf("%.2f %%", 100*v)
	case perSecond:
		return fmt.Sprintf("%.0f/s", v)
	default:
		return strconv.FormatFloat(v, 'g', 4, 64)
	}
}

func duration(s float64) string {
	switch {
	case s < 1e-3:
		return fmt.Sprintf("%.0f µs", s*1e6)
	case s < 1:
		return fmt.Sprintf("%.1f ms", s*1e3)
	default:
		return fmt.Sprintf("%.2f s", s)
	}
}

// secondsPair is a pair of durations.
func secondsPair(bridge, reference time.Duration) pair {
	return pair{bridge.Seconds(), reference.Seconds()}
}
