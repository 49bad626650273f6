package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// handoverBucket begins the lines that count how long slots were free that requests waited for.
const handoverBucket = "kling_slot_handover_duration_seconds_bucket{"

// medianHandover reads from the metrics of replicas how long a slot was free until its next create call, in seconds.
func medianHandover(ctx context.Context, admins []string) (float64, error) {
	counts := map[float64]float64{} // up to each bound, in seconds
	for _, admin := range admins {
		if err := addBuckets(ctx, counts, "http://"+admin+"/metrics"); err != nil {
			return 0, err
		}
	}
	median, ok := medianOf(counts)
	if !ok {
		return 0, errors.New("no slot was handed over")
	}
	return median, nil
}

// addBuckets adds what a page of metrics counts.
func addBuckets(ctx context.Context, counts map[float64]float64, page string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, page, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		labels, ok := strings.CutPrefix(lines.Text(), handoverBucket)
		if !ok {
			continue
		}
		_, labels, _ = strings.Cut(labels, `le="`)
		bound, count, _ := strings.Cut(labels, `"} `)
		le, err := strconv.ParseFloat(bound, 64)
		if err != nil {
			return fmt.Errorf("%s: %w", lines.Text(), err)
		}
		n, err := strconv.ParseFloat(count, 64)
		if err != nil {
			return fmt.Errorf("%s: %w", lines.Text(), err)
		}
		counts[le] += n
	}
	return nil
}

// medianOf interpolates the median of what is counted up to each bound.
func medianOf(counts map[float64]float64) (median float64, ok bool) {
	half, below, from := counts[math.Inf(1)]/2, 0.0, 0.0
	for _, le := range slices.SortedFunc(maps.Keys(counts), cmp.Compare[float64]) {
		n := counts[le]
		if n >= half && n > below {
			return from + (le-from)*(half-below)/(n-below), !math.IsInf(le, 1)
		}
		below, from = n, le
	}
	return 0, false
}
