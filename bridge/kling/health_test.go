package kling_test

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

func TestHealth(t *testing.T) {
	t.Parallel()
	var h kling.Health
	now := time.Unix(1_800_000_000, 0)
	if diff := cmp.Diff(kling.HealthReport{}, h.Report(now)); diff != "" {
		t.Error(diff)
	}
	for i, err := range []*kling.Error{
		nil,
		{Action: kling.ActionReject, Code: 1301, Message: "no"},
		{Action: kling.ActionWait, Code: 1303, Message: "full"},
		{Action: kling.ActionRetry, NotFound: true, Code: 1203},
		{Action: kling.ActionPause, Code: 1102, Message: "no credit"},
		{Action: kling.ActionRetry, Err: errors.Join(syscall.ECONNREFUSED)},
	} {
		h.Note(kling.Call{Err: err}, now.Add(time.Duration(i)*time.Minute))
	}
	last := now.Add(5 * time.Minute)
	want := kling.HealthReport{
		AnsweredAt: now.Add(4 * time.Minute), FailedAt: last, Failure: "connection refused", Calls: 5, Errors: 2,
	}
	if diff := cmp.Diff(want, h.Report(last)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want.Calls, want.Errors = 0, 0
	if diff := cmp.Diff(want, h.Report(last.Add(time.Hour))); diff != "" {
		t.Errorf("an hour later (-want +got):\n%s", diff)
	}
}

func TestBrief(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]*kling.Error{
		"connection refused":   {Err: errors.Join(syscall.ECONNREFUSED)},
		"too fast (code 1302)": {Message: "too fast", Code: 1302, HTTPStatus: 429},
		"Just a moment":        {Message: "Just a moment", HTTPStatus: 403},
		"HTTP 503":             {HTTPStatus: 503},
		"odd":                  {Err: errors.New("odd")},
		"kling":                {Class: kling.ClassKling},
	} {
		if got := err.Brief(); got != want {
			t.Errorf("%+v: %q, want %q", err, got, want)
		}
	}
}
