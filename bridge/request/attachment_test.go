package request

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// TestObjectsInMemoryAreBounded holds the objects of several requests to the room there is, not the requests: one may
// have eight.
func TestObjectsInMemoryAreBounded(t *testing.T) {
	t.Parallel()
	in := NewAttachments(nil, 1, nil)
	with := func(objects int) *Request {
		refs := strings.TrimSuffix(strings.Repeat(`"nats-object://in/a",`, objects), ",")
		return &Request{Body: Object{fields: []field{
			{name: "prompt", value: json.RawMessage(`"a"`)}, {name: "images", value: json.RawMessage("[" + refs + "]")},
		}}}
	}
	take := func(objects int) (done func(), fits bool) {
		t.Helper()
		if done, err := in.Take(t.Context(), with(0)); err != nil { // takes no room, whatever there is
			t.Fatal(err)
		} else {
			done()
		}
		if free := maxInMemory - len(in.room); min(objects, maxInMemory) <= free {
			done, err := in.Take(t.Context(), with(objects))
			if err != nil {
				t.Fatal(err)
			}
			return done, true
		}
		ended, cancel := context.WithCancelCause(t.Context())
		over := errors.New("over")
		cancel(over)
		if _, err := in.Take(ended, with(objects)); !errors.Is(err, over) {
			t.Fatalf("%d objects: %v", objects, err)
		}
		return nil, false
	}
	three, fits := take(3)
	if !fits {
		t.Fatal("three objects do not fit")
	}
	one, fits := take(1)
	if !fits {
		t.Fatal("a fourth does not fit")
	}
	if _, fits := take(1); fits {
		t.Fatal("a fifth fits")
	}
	one()
	if _, fits := take(8); fits {
		t.Fatal("eight fit beside three")
	}
	three()
	eight, fits := take(8)
	if !fits {
		t.Fatal("eight do not fit alone")
	}
	if _, fits := take(1); fits {
		t.Fatal("one fits beside eight")
	}
	eight()
	if len(in.room)+len(in.entry) != 0 {
		t.Errorf("%d places are still taken", len(in.room)+len(in.entry))
	}
}

// TestEscapedReferencesTakeRoom spells references as JSON allows: each stands for an object in memory.
func TestEscapedReferencesTakeRoom(t *testing.T) {
	t.Parallel()
	in := NewAttachments(nil, 1, nil)
	for value, want := range map[string]int{
		`"nats-object://in/a"`:      1,
		`"\u006eats-object://in/a"`: 1,
		`"nats-object:\/\/in\/a"`:   1,
		`["\u006eats\u002dobject:\u002f/in/a",{"a\"":"\u006Eats-object://in/a"},"nats-object://in/b"]`:  3,
		`{"\"":"see nats-object://in/a","b":"\"nats-object://in/a","c":["\\u006eats-object://in/a",1]}`: 0,
	} {
		r := &Request{Body: Object{fields: []field{{name: "images", value: json.RawMessage(value)}}}}
		done, err := in.Take(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(in.room); got != want {
			t.Errorf("%s takes %d places, want %d", value, got, want)
		}
		done()
		if r.HasReferences() != (want > 0) {
			t.Errorf("%s: HasReferences is %t", value, r.HasReferences())
		}
	}
}
