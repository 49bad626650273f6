package request

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/events"
)

// TestObjectsThatCannotBeReadWhole has descriptions of content that is not there, or not as they say: each is the request's
// fault, for no further try would find more.
func TestObjectsThatCannotBeReadWhole(t *testing.T) {
	t.Parallel()
	nc, err := nats.Connect(bustest.Start(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateObjectStore(t.Context(), jetstream.ObjectStoreConfig{Bucket: "in", Storage: jetstream.MemoryStorage}); err != nil {
		t.Fatal(err)
	}
	publish := func(subject string, data string) {
		t.Helper()
		if _, err := js.Publish(t.Context(), subject, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	publish("$O.in.C.part", "0123456789")
	in := NewAttachments(js, 1<<20, nil)
	for _, c := range []struct{ name, description, says string }{
		{"gone", `"nuid":"gone","size":20,"chunks":2,"digest":"SHA-256=x"`, "nothing of its content is there"},
		{"none", `"nuid":"none","size":20,"chunks":0`, "nothing of its content is there"},
		{"part", `"nuid":"part","size":20,"chunks":2,"digest":"SHA-256=AAAA"`, "does not match its digest"},
		{"no-digest", `"nuid":"part","size":10,"chunks":1`, "its digest is none"},
		{"malformed", `"nuid":"part","size":10,"chunks":1,"digest":"SHA-256=*"`, "its digest is none"},
		{"all", `"nuid":">","size":10,"chunks":1`, "where its content is"},
		{"garbage", `"nuid":1`, "its description can't be read"},
	} {
		publish("$O.in.M."+base64.URLEncoding.EncodeToString([]byte(c.name)), `{"bucket":"in","name":"`+c.name+`",`+c.description+`}`)
		names := []string{"image"}
		if strings.HasPrefix(c.says, "nothing") {
			names = append(names, "video_url")
		}
		for _, name := range names {
			value := json.RawMessage(`"nats-object://in/` + c.name + `"`)
			r := &Request{Deadline: time.Now().Add(time.Hour), Body: Object{fields: []field{{name: name, value: value}}}}
			_, why, err := in.Resolve(t.Context(), r)
			if err != nil || why == nil || why.Class != events.ErrorInput || !strings.Contains(why.Message, c.says) {
				t.Errorf("%s as %s: %v, %v, want %q", c.name, name, why, err, c.says)
			}
		}
	}
}
