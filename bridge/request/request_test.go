package request

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

var storedAt = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

func kind(t testing.TB, name string) kling.Kind {
	t.Helper()
	k, ok := kling.DefaultKinds().Lookup(name)
	if !ok {
		t.Fatalf("no kind %s", name)
	}
	return k
}

func parse(t testing.TB, kindName, body string, header nats.Header) (*Request, error) {
	t.Helper()
	return Parse(Raw{
		Kind: kind(t, kindName), Header: header, Data: []byte(body), Sequence: 7, StoredAt: storedAt,
	}, Defaults{Timeout: 24 * time.Hour})
}

func TestBodyReachesKlingAsWritten(t *testing.T) {
	for name, c := range map[string]struct{ kind, body, want string }{
		"numbers keep their spelling": {
			"text2video", `{"prompt":"a","cfg_scale":0.50,"seed":123456789012345678901234567890,"x":1e2}`,
			`{"prompt":"a","cfg_scale":0.50,"seed":123456789012345678901234567890,"x":1e2,"external_task_id":"ext","callback_url":"https://b/c"}`,
		},
		"unknown fields and order stay": {
			"effects", `{"zz":{"b":1,"a":[null,true]},"effect_scene":"hug","<&>":"<&>"}`,
			`{"zz":{"b":1,"a":[null,true]},"effect_scene":"hug","<&>":"<&>","external_task_id":"ext","callback_url":"https://b/c"}`,
		},
		"empty own fields count as absent": {
			"text2video", `{"callback_url":"","external_task_id":"","prompt":"a"}`,
			`{"prompt":"a","external_task_id":"ext","callback_url":"https://b/c"}`,
		},
		"v2 model is for the path": {
			"text-to-video", `{"model":"kling-3.0","prompt":"a","settings":{"duration":5}}`,
			`{"prompt":"a","settings":{"duration":5},"options":{"external_task_id":"ext","callback_url":"https://b/c"}}`,
		},
		"v2 options stay": {
			"text-to-video", `{"model":"kling-3.0","options":{"watermark_info":{"enabled":true},"callback_url":""},"prompt":"a"}`,
			`{"options":{"watermark_info":{"enabled":true},"external_task_id":"ext","callback_url":"https://b/c"},"prompt":"a"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := parse(t, c.kind, c.body, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(bytes.Join(r.CreateBody(r.Body, "ext", "https://b/c"), nil)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestPollOnlySendsNoCallbackURL(t *testing.T) {
	r, err := parse(t, "text2video", `{"prompt":"a"}`, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(bytes.Join(r.CreateBody(r.Body, "ext", ""), nil)); got != `{"prompt":"a","external_task_id":"ext"}` {
		t.Errorf("got %s", got)
	}
}

func TestRefusedRequests(t *testing.T) {
	for name, c := range map[string]struct {
		kind, body string
		header     nats.Header
		want       string
	}{
		"not JSON":                     {"text2video", `{"prompt"`, nil, "not JSON"},
		"nothing":                      {"text2video", ``, nil, "not JSON"},
		"an array":                     {"text2video", `[]`, nil, "JSON object"},
		"two objects":                  {"text2video", `{}{}`, nil, "follows"},
		"not UTF-8":                    {"text2video", "{\"prompt\":\"\xff\"}", nil, "UTF-8"},
		"callback_url":                 {"text2video", `{"callback_url":"https://evil"}`, nil, "callback_url"},
		"callback_url hidden by twice": {"text2video", `{"callback_url":"https://evil","callback_url":""}`, nil, "callback_url"},
		"v2 callback_url":              {"text-to-video", `{"model":"m","options":{"callback_url":"https://evil"}}`, nil, "callback_url"},
		"v2 callback_url on top":       {"text-to-video", `{"model":"m","callback_url":"https://evil"}`, nil, "callback_url"},
		"external id is a number":      {"text2video", `{"external_task_id":12}`, nil, "external_task_id: want a string"},
		"external id is too long":      {"text2video", `{"external_task_id":"` + strings.Repeat("a", 65) + `"}`, nil, "at most 64 bytes"},
		"external id is all digits":    {"text2video", `{"external_task_id":"871000000000000101"}`, nil, "all digits"},
		"external id has a comma":      {"text2video", `{"external_task_id":"a,b"}`, nil, "only A-Z"},
		"v2 external id":               {"text-to-video", `{"model":"m","options":{"external_task_id":"a b"}}`, nil, "only A-Z"},
		"v2 without model":             {"text-to-video", `{"prompt":"a"}`, nil, "model"},
		"v2 model with a slash":        {"text-to-video", `{"model":"../tasks"}`, nil, "model"},
		"v2 options is a list":         {"text-to-video", `{"model":"m","options":[]}`, nil, "options: want an object"},
		"timeout is nonsense":          {"text2video", `{}`, nats.Header{events.HeaderTimeout: {"soon"}}, events.HeaderTimeout},
		"timeout is negative":          {"text2video", `{}`, nats.Header{events.HeaderTimeout: {"-5s"}}, events.HeaderTimeout},
		"timeout is zero":              {"text2video", `{}`, nats.Header{events.HeaderTimeout: {"0"}}, events.HeaderTimeout},
		"request id is too long":       {"text2video", `{}`, nats.Header{events.HeaderRequestID: {strings.Repeat("x", 129)}}, "request id"},
		"request id is not UTF-8":      {"text2video", `{}`, nats.Header{events.HeaderRequestID: {"a\xff"}}, "request id"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := parse(t, c.kind, c.body, c.header)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error about %q", err, c.want)
			}
			if r.ID == "" || !events.IsToken(r.Token) || r.Deadline.IsZero() {
				t.Errorf("a rejected request must still be answered: %+v", r)
			}
		})
	}
}

func TestRequestID(t *testing.T) {
	body := `{"external_task_id":"mine"}`
	for name, c := range map[string]struct {
		header nats.Header
		body   string
		want   string
	}{
		"header wins": {nats.Header{events.HeaderRequestID: {"a"}, "Nats-Msg-Id": {"b"}}, body, "a"},
		"message id":  {nats.Header{"Nats-Msg-Id": {"b"}}, body, "b"},
		"external id": {nil, body, "mine"},
		"sequence":    {nil, `{}`, "seq-7-mho0x000"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := parse(t, "text2video", c.body, c.header)
			if err != nil {
				t.Fatal(err)
			}
			if name == "sequence" {
				if !strings.HasPrefix(r.ID, "seq-7-") || r.ID != r.Token {
					t.Errorf("got %q", r.ID)
				}
				return
			}
			if r.ID != c.want {
				t.Errorf("got %q, want %q", r.ID, c.want)
			}
		})
	}
}

func TestTimeoutHeader(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90": 90 * time.Second, "1h30m": 90 * time.Minute, "250ms": 250 * time.Millisecond, "": 24 * time.Hour,
		"99999999999999": maxTimeout,
	} {
		r, err := parse(t, "text2video", `{}`, nats.Header{events.HeaderTimeout: {text}})
		if err != nil || r.Deadline.Sub(storedAt) != want {
			t.Errorf("%q: %v, %v; want %v", text, r.Deadline.Sub(storedAt), err, want)
		}
	}
}

func TestImageSlots(t *testing.T) {
	for body, want := range map[string]int{
		`{}`: 1, `{"n":4}`: 4, `{"n":"3"}`: 3, `{"n":99}`: 9, `{"n":"x"}`: 1, `{"n":-1}`: 1,
	} {
		r, err := parse(t, "image-generations", body, nil)
		if err != nil || r.Slots != want {
			t.Errorf("%s: %d slots, %v; want %d", body, r.Slots, err, want)
		}
	}
	for body, want := range map[string]int{
		`{"series_amount":2}`: 2, `{"series_amount":"9"}`: 9, `{"series_amount":"auto"}`: 9, `{"series_amount":10}`: 9,
		`{"series_amount":""}`: 1, `{"series_amount":[]}`: 1, `{"n":5,"series_amount":3}`: 5, `{"n":1,"series_amount":3}`: 3,
	} {
		r, err := parse(t, "omni-image", body, nil)
		if err != nil || r.Slots != want {
			t.Errorf("%s: %d slots, %v; want %d", body, r.Slots, err, want)
		}
	}
	r, err := parse(t, "text2video", `{"n":4}`, nil)
	if err != nil || r.Slots != 1 {
		t.Errorf("a video takes %d slots, %v; want 1", r.Slots, err)
	}
}

// TestModelThatSlotsCountFor has bodies name a model in the ways that the APIs have for it, and in none.
func TestModelThatSlotsCountFor(t *testing.T) {
	for _, c := range []struct{ kind, body, want string }{
		{"text2video", `{"model_name":"kling-v3"}`, "kling-v3"},
		{"text2video", `{"model":"kling-v3"}`, "text2video"},
		{"text2video", `{"model_name":""}`, "text2video"},
		{"text2video", `{"model_name":["a"]}`, "text2video"},
		{"text2video", `{"model_name":"a b"}`, "text2video"},
		{"text-to-video", `{"model":"kling-3.0","model_name":"a"}`, "kling-3.0"},
		{"drama-subtitle", `{"model_name":"a"}`, "drama-subtitle"},
	} {
		r, err := parse(t, c.kind, c.body, nil)
		if err != nil || r.Need().Model != c.want {
			t.Errorf("%s %s: counts for %s, %v; want %s", c.kind, c.body, r.Need().Model, err, c.want)
		}
	}
}

func TestExternalID(t *testing.T) {
	a, b := NewNamer("a"), NewNamer("b")
	seen := map[string]string{}
	for _, token := range []string{
		"order-42", "1", "871000000000000101", strings.Repeat("x", 27), strings.Repeat("x", 28), strings.Repeat("x", 64),
		events.Token("has spaces"), events.Token("has spaces too"),
	} {
		id := a.ExternalID(token)
		if len(id) > 36 || !externalIDPattern.MatchString(id) || allDigits.MatchString(id) || strings.Contains(id, ".") {
			t.Errorf("%s gives %q", token, id)
		}
		if other, twice := seen[id]; twice {
			t.Errorf("%s and %s both give %q", token, other, id)
		}
		seen[id] = token
		if id == b.ExternalID(token) {
			t.Errorf("%s gives %q in both namespaces", token, id)
		}
		if id != NewNamer("a").ExternalID(token) {
			t.Errorf("%s gives different ids", token)
		}
	}
	if id := a.ExternalID("order-42"); !strings.HasSuffix(id, "-order-42") {
		t.Errorf("a short id is not readable: %q", id)
	}
}

// FuzzParseRequest holds every body to what the contract says of forwarding: what goes to Kling is what came in, plus
// the two fields of the bridge, less those it takes out.
func FuzzParseRequest(f *testing.F) {
	for _, seed := range []string{
		`{"prompt":"a"}`, `{"callback_url":"","x":[1,2.50,{"y":null}]}`, `{"a":1,"a":2}`, `{"model":"kling-3.0","options":{}}`,
		`{"external_task_id":"abc","n":"9"}`, `{"options":{"external_task_id":"é"}}`, `[`, `{"\u0000":"\ud800"}`, `{"n":1e400}`,
	} {
		f.Add(seed, "id-1", "90")
	}
	kinds := kling.DefaultKinds().All()
	f.Fuzz(func(t *testing.T, body, id, timeout string) {
		header := nats.Header{events.HeaderRequestID: {id}, events.HeaderTimeout: {timeout}}
		for _, k := range []kling.Kind{kinds[0], kind(t, "text-to-video"), kind(t, "image-generations")} {
			r, err := Parse(Raw{Kind: k, Header: header, Data: []byte(body), Sequence: 1, StoredAt: storedAt}, Defaults{Timeout: time.Hour})
			if !events.IsToken(r.Token) || r.ID == "" {
				t.Fatalf("id %q, token %q", r.ID, r.Token)
			}
			if err != nil {
				continue
			}
			checkForwarded(t, k, []byte(body), bytes.Join(r.CreateBody(r.Body, "ext", "https://b/c"), nil))
		}
	})
}

func checkForwarded(t *testing.T, k kling.Kind, in, out []byte) {
	t.Helper()
	got, want := decode(t, out), decode(t, in)
	place := want
	if k.Generation == kling.V2 {
		delete(want, "model")
		delete(want, "callback_url")
		options, _ := want["options"].(map[string]any)
		if options == nil {
			options = map[string]any{}
		}
		want["options"], place = options, options
	}
	place["external_task_id"], place["callback_url"] = "ext", "https://b/c"
	if !reflect.DeepEqual(got, want) {
		t.Errorf("in  %s\nout %s", in, out)
	}
}

func decode(t *testing.T, data []byte) map[string]any {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	return m
}
