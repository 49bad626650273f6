package klingtest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
)

const (
	imageToVideo = "/v1/videos/image2video"
	lipSync      = "/v1/videos/lip-sync"
	images       = "/v1/images/generations"
	v2Image      = "/image-to-video/kling-3.0"
)

// TestBadValues: the message is part of what is known where the case says so.
func TestBadValues(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{})
	tooLong := strings.Repeat("ü", 2501)
	for _, tt := range []struct{ path, body, message string }{
		{textToVideo, `{}`, "prompt is required"},
		{textToVideo, `{"prompt":""}`, "prompt is required"},
		{textToVideo, `{"prompt":7}`, "prompt value '7' is invalid"},
		{textToVideo, `{"prompt":"` + tooLong + `"}`, "prompt is longer than 2500 characters"},
		{textToVideo, `{"prompt":"p","negative_prompt":"` + tooLong + `"}`, "negative_prompt is longer than 2500 characters"},
		{textToVideo, `{"prompt":"p","mode":"standard"}`, "mode value 'standard' is invalid"}, // recorded
		{textToVideo, `{"prompt":"p","duration":5}`, "duration value '5' is invalid"},
		{textToVideo, `{"prompt":"p","duration":"99"}`, "duration value '99' is invalid"}, // recorded
		{textToVideo, `{"prompt":"p","duration":"5s"}`, "duration value '5s' is invalid"},
		{textToVideo, `{"prompt":"p","aspect_ratio":"4:3"}`, "aspect_ratio value '4:3' is invalid"},
		{textToVideo, `{"prompt":"p","cfg_scale":1.5}`, "cfg_scale value '1.5' is invalid"},
		{textToVideo, `{"prompt":"p","cfg_scale":"0.5"}`, "cfg_scale value '0.5' is invalid"},
		{textToVideo, `{"prompt":"p","sound":true}`, "sound value 'true' is invalid"},
		{textToVideo, `{"prompt":"p","camera_control":{"type":"spin"}}`, "type value 'spin' is invalid"},
		{textToVideo, `{"prompt":"p","camera_control":"simple"}`, "camera_control is not an object"},
		{textToVideo, `{"prompt":"p","multi_shot":true}`, "shot_type is required"},
		{textToVideo, `{"multi_shot":true,"shot_type":"customize"}`, "multi_prompt is required"},
		{textToVideo, `{"multi_shot":true,"shot_type":"customize","multi_prompt":[{}]}`, "prompt is required"},
		{textToVideo, `{"prompt":"p","external_task_id":42}`, "external_task_id value '42' is invalid"},
		{textToVideo, `{"prompt":"p","callback_url":"/callbacks"}`, "callback_url value '/callbacks' is invalid"},
		{textToVideo, `{"prompt":"p","callback_url":"ftp://x.test/"}`, "callback_url value 'ftp://x.test/' is invalid"},
		{textToVideo, `{"prompt":"p","watermark_info":{"enabled":"yes"}}`, "enabled value 'yes' is invalid"},
		{imageToVideo, `{"prompt":"p"}`, "image can not be null"},                                        // recorded
		{imageToVideo, `{"image":"data:image/png;base64,aGk="}`, "File is not in a valid base64 format"}, // recorded
		{imageToVideo, `{"image":["aGk="]}`, "File is not in a valid base64 format"},
		{imageToVideo, `{"image":"` + strings.Repeat("AAAA", 4<<20) + `"}`, "image is larger than 10485760 bytes"},
		{imageToVideo, `{"image":"aGk=","image_tail":"aGk=","static_mask":"aGk="}`,
			"image_tail, masks and camera_control exclude each other"},
		{"/v1/videos/video-extend", `{"task_id":"1"}`, "video_id is required"},
		{lipSync, `{"mode":"text2video"}`, "input is required"},
		{lipSync, `{"input":{"mode":"text2video","text":"t","voice_id":"v"}}`,
			"video_id or video_url is required"}, // recorded
		{lipSync, `{"input":{"mode":"text2video","video_id":"1"}}`, "text is required"},
		{lipSync, `{"input":{"mode":"audio2video","video_id":"1","audio_type":"url"}}`, "audio_url is required"},
		{lipSync, `{"input":{"mode":"audio2video","video_id":"1","audio_type":"file"}}`, "audio_file is required"},
		{"/v1/videos/effects", `{"input":{"image":"aGk="}}`, "effect_scene is required"},
		{"/v1/videos/effects", `{"effect_scene":"hug","input":{"images":["aGk="]}}`, "images must be two"},
		{"/v1/videos/avatar/image2video", `{"image":"aGk="}`, "exactly one of audio_id and sound_file is required"},
		{images, `{"prompt":"p","n":10}`, "n value '10' is invalid"},
		{images, `{"prompt":"p","n":"0"}`, "n value '0' is invalid"},
		{"/v1/images/omni-image", `{"prompt":"p","series_amount":1}`, "series_amount value '1' is invalid"},
		{"/v1/audio/text-to-audio", `{"prompt":"p","duration":11}`, "duration value '11' is invalid"},
		{v2Video, `{"settings":{}}`, "prompt is required"},
		{v2Video, `{"prompt":"p","settings":{"duration":"5s"}}`, "duration value '5s' is invalid"},
		{v2Video, `{"prompt":"p","settings":{"resolution":"720P"}}`, "resolution value '720P' is invalid"}, // recorded
		{v2Video, `{"prompt":"p","settings":{"duration":5.5}}`, "duration value '5.5' is invalid"},
		{v2Video, `{"prompt":"p","settings":{"audio":"on"}}`, "audio value 'on' is invalid"},
		{v2Video, `{"prompt":"p","options":{"callback_url":"x"}}`, "callback_url value 'x' is invalid"},
		{v2Image, `{"prompt":"p"}`, "contents cannot be empty"}, // recorded
		{v2Image, `{"contents":[{"url":"https://x.test/a.png"}]}`, "type is required"},
		{subtitles, `{}`, "contents cannot be empty"},
	} {
		got := sim.post(tt.path, tt.body)
		if got.HTTPStatus != http.StatusBadRequest || got.Code != 1201 || got.Message != tt.message {
			t.Errorf("%s %.80s: %d %d %q; want 1201 %q", tt.path, tt.body, got.HTTPStatus, got.Code, got.Message, tt.message)
		}
	}
	if len(sim.Tasks()) > 0 || len(sim.Violations()) > 0 {
		t.Errorf("%d tasks; violations %q", len(sim.Tasks()), sim.Violations())
	}
}

func TestGoodValues(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{})
	for _, tt := range []struct{ path, body string }{
		{textToVideo, `{"prompt":"` + strings.Repeat("ü", 2500) + `","model_name":"kling-v77","mode":"4k","duration":"15"}`},
		{textToVideo, `{"prompt":"p","callback_url":"","external_task_id":"","negative_prompt":null,"unknown":[1]}`},
		{textToVideo, `{"multi_shot":"true","shot_type":"customize",
			"multi_prompt":[{"index":1,"prompt":"p","duration":"5"}]}`},
		{imageToVideo, `{"image_tail":"aGk="}`},
		{lipSync, `{"input":{"mode":"audio2video","video_url":"https://x.test/a.mp4","audio_type":"url","audio_url":"u"}}`},
		{images, `{"prompt":"p","n":"2"}`},
		{v2Video, `{"prompt":"p","settings":{"duration":99,"aspect_ratio":"1:1","audio":"native","multi_shot":false}}`},
		{v2Video, `{"prompt":"p","model_name":"anything","surprise":{}}`},
		{v2Video, `{"prompt":"p","settings":{"duration":"15","resolution":"480p"}}`}, // recorded: a string, and what fails later
	} {
		sim.create(tt.path, tt.body)
	}
	if v := sim.Violations(); len(v) > 0 {
		t.Errorf("violations %q", v)
	}
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{})
	sim.refused(textToVideo, `{"prompt":"a [policy] thing"}`, http.StatusBadRequest, 1301)
	sim.refused(v2Image, `{"contents":[{"type":"prompt","text":"[policy]"}]}`, http.StatusBadRequest, 1301)
	sim.refused(lipSync, `{"input":{"mode":"text2video","video_id":"1","text":"[policy]","voice_id":"v"}}`,
		http.StatusBadRequest, 1301)
	got := sim.post(subtitles, `{"contents":[{"type":"prompt","text":"[policy]"}]}`)
	if got.Code != 1201 || got.Message != "Failure to pass the risk control system" { // Kling's solution pages, 2026-09
		t.Errorf("a solution: %s", got.Body)
	}
}

func TestBodyForm(t *testing.T) {
	t.Parallel()
	const good = `{"prompt":"p"}`
	for name, tt := range map[string]struct {
		contentType, body string
		code              int
	}{
		"good":        {"application/json", good, 0},
		"charset":     {"application/json; charset=UTF-8", good, 0},
		"no type":     {"", good, 1200},
		"other type":  {"text/plain", good, 1200},
		"latin1":      {"application/json; charset=iso-8859-1", good, 1200},
		"no body":     {"application/json", ``, 1200},
		"array":       {"application/json", `[]`, 1200},
		"null":        {"application/json", `null`, 1200},
		"two objects": {"application/json", good + good, 1200},
		"not UTF-8":   {"application/json", "{\"prompt\":\"\xff\"}", 1200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim := newAPI(t, klingtest.Options{})
			r := sim.request(http.MethodPost, textToVideo, tt.body)
			r.Header.Set("Content-Type", tt.contentType)
			if got := sim.do(r); got.Code != tt.code {
				t.Errorf("%d %s; want code %d", got.HTTPStatus, got.Body, tt.code)
			}
			if v := sim.Violations(); (len(v) > 0) != (tt.code != 0) {
				t.Errorf("violations %q", v)
			}
		})
	}
}

// TestSilentlyIgnored: Kling takes these, and so nothing but the violation tells the client.
func TestSilentlyIgnored(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ path, body string }{
		"callback at v2's top":         {v2Video, `{"prompt":"p","callback_url":"https://x.test/"}`},
		"callback at a solution's top": {subtitles, `{"contents":[{"type":"video"}],"callback_url":"https://x.test/"}`},
		"external id at v2's top":      {v2Video, `{"prompt":"p","external_task_id":"job-1"}`},
		"model in v2's body":           {v2Video, `{"prompt":"p","model":"kling-3.0"}`},
		"callback in v1's options":     {textToVideo, `{"prompt":"p","options":{"callback_url":"https://x.test/"}}`},
		"external id of digits":        {textToVideo, `{"prompt":"p","external_task_id":"871000000000000101"}`},
		"external id with a comma":     {textToVideo, `{"prompt":"p","external_task_id":"a,b"}`},
		"external id of 65 letters":    {textToVideo, fmt.Sprintf(`{"prompt":"p","external_task_id":"%065d"}`, 0)},
		"external id that is a space":  {v2Video, `{"prompt":"p","options":{"external_task_id":" "}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim := newAPI(t, klingtest.Options{})
			id := sim.create(tt.path, tt.body)
			if v := sim.Violations(); len(v) != 1 {
				t.Errorf("violations %q, want one", v)
			}
			if v, _ := sim.Task(id); v.CallbackURL != "" {
				t.Errorf("calls back to %s, want nowhere", v.CallbackURL)
			}
		})
	}
}

func TestUnknownRoutes(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{})
	for _, path := range []string{
		"/v1/videos/nothing", "/v1/v1/videos/text2video", textToVideo + "/", "/text-to-video", "/v1",
	} {
		got := sim.post(path, `{"prompt":"p"}`)
		if got.HTTPStatus != http.StatusNotFound || !strings.HasPrefix(got.Body, "<html>") {
			t.Errorf("POST %s: %d %s; want a 404 in HTML", path, got.HTTPStatus, got.Body)
		}
	}
	for _, call := range []struct{ method, path string }{
		{http.MethodPut, textToVideo}, {http.MethodDelete, textToVideo + "/1"},
		{http.MethodGet, v2Video}, {http.MethodPost, "/account/costs"},
	} {
		got := sim.do(sim.request(call.method, call.path, `{}`))
		if got.HTTPStatus != http.StatusNotFound || got.Code != 1202 {
			t.Errorf("%s %s: %d %s; want 404 and 1202", call.method, call.path, got.HTTPStatus, got.Body)
		}
	}
	if n := len(sim.Violations()); n != 9 {
		t.Errorf("%d violations, want 9", n)
	}
}

func TestSaysThatItIsASimulation(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{})
	for _, path := range []string{"/", "/nothing", "/files/nothing.mp4", textToVideo, "/tasks"} {
		if got := sim.get(path); got.Header.Get("X-Kling-Simulated") != "true" {
			t.Errorf("GET %s: no X-Kling-Simulated", path)
		}
	}
	if got := sim.get("/"); got.HTTPStatus != http.StatusOK || !strings.Contains(got.Body, "simulation") {
		t.Errorf("GET /: %d %q", got.HTTPStatus, got.Body)
	}
}
