package kling_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

// TestListRecent reads the lists of both surfaces to their ends, whatever the last page says of a next one.
func TestListRecent(t *testing.T) {
	t.Parallel()
	since := time.UnixMilli(1790600000123)
	pages := map[string]string{
		"": `{"result":[{"id":"1","status":"succeeded","external_id":"job-1"},{"id":{}},null],"count":2,
			"next_cursor":"c1","has_more":true}`,
		"c1": `{"result":[{"id":"2","status":"processing"}],"count":1,"next_cursor":12}`,
		"12": `{"result":[],"count":0,"next_cursor":"c3","has_more":false}`,
	}
	for g, path := range map[kling.Generation]string{kling.V2: "/tasks", kling.Solutions: "/solutions"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodPost || r.RequestURI != path {
					t.Errorf("got %s %s", r.Method, r.RequestURI)
				}
				var q struct {
					StartTime *string `json:"start_time"` // strings, as documented on most pages
					EndTime   *string `json:"end_time"`
					Cursor    string  `json:"cursor"`
					Limit     int     `json:"limit"`
				}
				if err := json.NewDecoder(r.Body).Decode(&q); err != nil || q.Limit != 500 {
					t.Errorf("got %+v, %v", q, err)
				}
				if first := q.StartTime != nil && *q.StartTime == "1790600000123" && q.EndTime != nil; first != (q.Cursor == "") {
					t.Errorf("cursor %q, times from %v to %v", q.Cursor, q.StartTime, q.EndTime)
				}
				respond(http.StatusOK, `{"code":0,"data":`+pages[q.Cursor]+`}`)(w, r)
			})
			var ids []string
			for cursor := ""; ; {
				page, err := client.ListRecent(t.Context(), g, since, cursor)
				if err != nil {
					t.Fatal(err)
				}
				for _, task := range page.Tasks {
					ids = append(ids, task.ID)
				}
				if cursor = page.Next; cursor == "" {
					break
				}
			}
			if diff := cmp.Diff([]string{"1", "2"}, ids); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestListRecentThatIsNone(t *testing.T) {
	t.Parallel()
	for _, data := range []string{`[]`, `null`, `"none"`, `{"result":[{"id":[]}]}`, `{"result":"none"}`} {
		client := newClient(t, respond(http.StatusOK, `{"code":0,"data":`+data+`}`))
		page, err := client.ListRecent(t.Context(), kling.V2, time.Now(), "")
		if data == `null` { // nothing at all
			if err != nil || len(page.Tasks) > 0 {
				t.Errorf("%s: %+v, %v", data, page, err)
			}
			continue
		}
		if !errors.Is(err, kling.ErrMalformed) {
			t.Errorf("%s: got %+v, %v, want ErrMalformed", data, page, err)
		}
	}
	client := newClient(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("got %s", r.RequestURI) })
	_, err := client.ListRecent(t.Context(), kling.V1, time.Now(), "")
	if e := failure(t, err); e.Action != kling.ActionReject {
		t.Errorf("v1: got %v", err)
	}
}
