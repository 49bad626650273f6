package store

import (
	"testing"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
)

// TestRecordsOfAccounts leaves older replicas, which know one account only, nothing to do for another's: they would look for its
// task in vain and send again. What they have stored themselves is of the default.
func TestRecordsOfAccounts(t *testing.T) {
	for account, version := range map[string]int{kling.DefaultAccount: 1, "burst": 2} {
		rec := NewRecord(&request.Request{ID: "a"}, account, "", Send{}, telemetry.Trace{})
		rec.Kind = "text2video"
		if rec.Version != version {
			t.Errorf("account %s: version %d, want %d", account, rec.Version, version)
		}
		data, err := rec.encode()
		if err != nil {
			t.Fatal(err)
		}
		if read, err := Decode(data); err != nil || read.Account != account || read.Newer() {
			t.Errorf("account %s: %+v, %v", account, read, err)
		}
	}
	old, err := Decode([]byte(`{"v":1,"request_id":"a","kind":"text2video","state":"creating"}`))
	if err != nil || old.Account != kling.DefaultAccount {
		t.Errorf("got %+v, %v", old, err)
	}
}
