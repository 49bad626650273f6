package bridge_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/events"
)

// describe stores the description of an object, which whoever may write to a bucket can make up, without any content.
func (w *world) describe(bucket, name string, description map[string]any) {
	w.t.Helper()
	made := map[string]any{"name": name, "bucket": bucket, "nuid": "N", "size": 0, "chunks": 0}
	for k, v := range description {
		made[k] = v
	}
	data, err := json.Marshal(made)
	if err != nil {
		w.t.Fatal(err)
	}
	m := nats.NewMsg("$O." + bucket + ".M." + base64.URLEncoding.EncodeToString([]byte(name)))
	m.Data = data
	m.Header.Set("Nats-Rollup", "sub")
	if _, err := w.js.PublishMsg(w.ctx, m); err != nil {
		w.t.Fatal(err)
	}
}

// described is the description of an object.
func (w *world) described(bucket, name string) *jetstream.ObjectInfo {
	w.t.Helper()
	objects, err := w.js.ObjectStore(w.ctx, bucket)
	if err != nil {
		w.t.Fatal(err)
	}
	info, err := objects.GetInfo(w.ctx, name)
	if err != nil {
		w.t.Fatal(err)
	}
	return info
}

// linkTo is the description of a link to another object.
func linkTo(bucket, name string) map[string]any {
	return map[string]any{"options": map[string]any{"link": map[string]any{"bucket": bucket, "name": name}}}
}

// image asks for a task with an image.
func (w *world) image(id, image string) {
	w.t.Helper()
	w.request(testRequest{Kind: "image2video", ID: id, Timeout: time.Hour, Body: body(map[string]any{"prompt": "a", "image": image})})
}

// rejects waits for the end of requests with an object each that can't be used, and for why.
func (w *world) rejects(why map[string]string) {
	w.t.Helper()
	for id, says := range why {
		ev := w.await(id)
		if ev.Status != events.StatusRejected || ev.Error.Class != events.ErrorInput || !strings.Contains(ev.Error.Message, says) {
			w.t.Errorf("%s: %s, %+v, want %q", id, ev.Status, ev.Error, says)
		}
	}
}

// TestLinksAreNotFollowed has objects of an allowed bucket lead out of it, to themselves, to a bucket and to nothing.
func TestLinksAreNotFollowed(t *testing.T) {
	t.Parallel()
	w := start(t, setup{bridge: bridge.Options{InputBuckets: []string{"kling-inputs"}}})
	w.store("kling-inputs", "own", "image/png", strings.NewReader("own"))
	w.store("archive", "secret", "image/png", strings.NewReader("secret"))
	why := map[string]string{}
	for name, description := range map[string]map[string]any{
		"out":     linkTo("archive", "secret"),
		"within":  linkTo("kling-inputs", "own"),
		"self":    linkTo("kling-inputs", "self"),
		"bucket":  linkTo("archive", ""),
		"nowhere": linkTo("nothing", "a"),
	} {
		w.describe("kling-inputs", name, description)
		w.image(name, "nats-object://kling-inputs/"+name)
		why[name] = "it is a link to another object"
	}
	// A description that names another bucket would have its content read from there.
	w.describe("kling-inputs", "posing", map[string]any{"bucket": "archive", "size": 6, "chunks": 1})
	w.image("posing", "nats-object://kling-inputs/posing")
	why["posing"] = "its description is of bucket archive"
	w.rejects(why)
	if message, _ := w.callFails("image-recognize", `{"image":"nats-object://kling-inputs/out"}`, "400"); !strings.Contains(message, "link") {
		t.Errorf("a call is refused by %q", message)
	}
	w.image("own", "nats-object://kling-inputs/own")
	if ev := w.await("own"); ev.Status != events.StatusSucceed {
		t.Errorf("an object that is none: %+v", ev)
	}
	if n := len(w.sim.Tasks()); n != 1 {
		t.Errorf("%d tasks, want 1", n)
	}
}

// TestURLServesNothingOfAnotherBucket puts descriptions that lead out of the bucket in the place of an object whose URL Kling has.
func TestURLServesNothingOfAnotherBucket(t *testing.T) {
	t.Parallel()
	w := start(t, setup{bridge: bridge.Options{InputBuckets: []string{"in"}}})
	w.store("in", "clip", "video/mp4", bytes.NewReader(video(1000)))
	w.store("archive", "secret", "video/mp4", bytes.NewReader(video(1000)))
	secret := w.described("archive", "secret")
	w.lipSync("clip", "nats-object://in/clip", time.Hour)
	url := w.sentVideo("clip")
	for what, description := range map[string]map[string]any{
		"a link":                  linkTo("archive", "secret"),
		"another's description":   {"bucket": "archive", "nuid": secret.NUID, "size": secret.Size, "chunks": secret.Chunks},
		"a link with the content": {"nuid": secret.NUID, "size": secret.Size, "options": linkTo("archive", "secret")["options"]},
	} {
		w.describe("in", "clip", description)
		if res, got := w.fetch(http.MethodGet, url); res.status != http.StatusNotFound {
			t.Errorf("%s: %d, %d bytes", what, res.status, len(got))
		}
	}
}

// TestObjectsOfARequestAreBoundedTogether has the last of several objects be one byte too many, by what its uploader says of its
// size and by what it has. An object that goes by URL does not count.
func TestObjectsOfARequestAreBoundedTogether(t *testing.T) {
	t.Parallel()
	w := start(t, setup{bridge: bridge.Options{MaxInlineBytes: 1000}})
	for name, size := range map[string]int{"600": 600, "400": 400, "401": 401} {
		w.store("in", name, "image/png", strings.NewReader(strings.Repeat("x", size)))
	}
	w.store("in", "clip", "video/mp4", bytes.NewReader(video(2000)))
	larger := w.described("in", "401")
	w.describe("in", "lying", map[string]any{"nuid": larger.NUID, "size": 1, "chunks": 1, "digest": larger.Digest})
	submit := func(id, second string) {
		w.request(testRequest{Kind: "image2video", ID: id, Timeout: time.Hour, Body: body(map[string]any{
			"prompt": "a", "image": "nats-object://in/600", "image_tail": "nats-object://in/" + second, "video_url": "nats-object://in/clip",
		})})
	}
	submit("fits", "400")
	submit("too-much", "401")
	submit("lies", "lying")
	together := "more than the limit of 1000 bytes together (BRIDGE_MAX_INLINE_BYTES)"
	w.rejects(map[string]string{"too-much": together, "lies": together})
	if ev := w.await("fits"); ev.Status != events.StatusSucceed {
		t.Errorf("%s: %+v", ev.Status, ev.Error)
	}
}
