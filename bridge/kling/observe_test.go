package kling_test

import (
	"context"
	"net/http"
	"slices"
	"testing"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

func TestEveryCallIsObserved(t *testing.T) {
	answers := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			respond(http.StatusTooManyRequests, `{"code":1303,"message":"parallel task over resource pack limit"}`)(w, r)
			return
		}
		respond(http.StatusOK, `{"code":0,"data":"no task"}`)(w, r)
	})
	var ops []string
	var last kling.Call
	client := newClient(t, answers)
	observed := client.Observed(func(ctx context.Context, c kling.Call) {
		if ctx != t.Context() || c.Duration <= 0 {
			t.Errorf("%+v", c)
		}
		ops, last = append(ops, c.Op), c
	})
	k := kind(t, "text2video")
	if _, err := observed.Create(t.Context(), k, "", []byte("{}")); err == nil || last.Err == nil || last.Err.Code != 1303 {
		t.Errorf("create: %v, observed %+v", err, last)
	}
	if _, err := observed.Query(t.Context(), k, "1"); err == nil || last.Err == nil {
		t.Errorf("a malformed answer: %v, observed %+v", err, last)
	}
	_, _ = observed.QueryExternal(t.Context(), k, "1")
	_, _ = observed.List(t.Context(), k, 1, 10)
	_, _ = observed.QueryTasks(t.Context(), kling.V2, []string{"1"})
	if err := observed.CheckCredentials(t.Context()); err != nil || last.Err != nil {
		t.Errorf("check: %v, observed %+v", err, last)
	}
	want := []string{"create", "query", "query external", "list", "query tasks", "check credentials"}
	if !slices.Equal(ops, want) {
		t.Errorf("observed %q, want %q", ops, want)
	}
	if _, err := client.Query(t.Context(), k, "1"); err == nil || len(ops) != len(want) {
		t.Error("the client that was not observed tells of its calls")
	}
}
