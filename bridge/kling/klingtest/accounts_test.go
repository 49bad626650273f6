package klingtest_test

import (
	"errors"
	"net/http/httptest"
	"testing"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
)

// TestAccountsAtOneAddress keeps what accounts have apart: tasks, slots and credit. Who is not known is refused.
func TestAccountsAtOneAddress(t *testing.T) {
	t.Parallel()
	pair := klingtest.Options{AccessKey: "ak", SecretKey: "sk", Credits: 1}
	first := klingtest.Start(t, klingtest.Options{APIKeys: []string{"key"}}).Server
	second := klingtest.Start(t, pair).Server
	host := httptest.NewServer(klingtest.Accounts{first, second})
	t.Cleanup(host.Close)
	kind, _ := kling.DefaultKinds().Lookup("text2video")
	client := func(c kling.Credentials) *kling.Client {
		client, err := kling.NewClient(kling.Options{BaseURL: host.URL, Credentials: c})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		return client
	}
	create := func(c *kling.Client, id string) (kling.Task, int) {
		task, err := c.Create(t.Context(), kind, "", []byte(`{"prompt":"a","model_name":"kling-v2-6","external_task_id":"`+id+`"}`))
		failure, _ := errors.AsType[*kling.Error](err)
		if failure == nil {
			return task, 0
		}
		return task, failure.Code
	}
	one, two := client(kling.Credentials{APIKey: "key"}), client(kling.Credentials{AccessKey: "ak", SecretKey: "sk"})
	if _, code := create(one, "a-1"); code != 0 {
		t.Fatalf("refused: %d", code)
	}
	task, code := create(two, "a-1") // the same external id, on another account
	if code != 0 {
		t.Fatalf("refused: %d", code)
	}
	if _, err := one.Query(t.Context(), kind, task.ID); err == nil && len(first.Tasks()) == 1 && first.Tasks()[0].ID != task.ID {
		t.Error("an account knows another's task")
	}
	if _, code := create(two, "a-2"); code != 1102 {
		t.Errorf("beyond its credit: %d", code)
	}
	second.SetCredits(1)
	if _, code := create(two, "a-2"); code != 0 {
		t.Errorf("with more credit: %d", code)
	}
	if _, code := create(client(kling.Credentials{APIKey: "nobody's"}), "a-3"); code != 1002 {
		t.Errorf("unknown credentials: %d", code)
	}
	if len(first.Tasks()) != 1 || len(second.Tasks()) != 2 {
		t.Errorf("%d and %d tasks", len(first.Tasks()), len(second.Tasks()))
	}
}
