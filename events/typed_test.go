package events_test

import (
	"encoding/json"
	"testing"

	"github.com/klingbridge/klingbridge/events"
)

type typedBody interface {
	AsRequest() (events.Request, error)
}

func TestTypedBodies(t *testing.T) {
	t.Parallel()
	watermark := &events.WatermarkInfo{Enabled: true}
	for name, tt := range map[string]struct {
		body typedBody
		kind string
		want string
	}{
		"text2video": {
			events.Text2Video{
				ModelName: "kling-v3", Prompt: "<<<voice_1>>> & more", Duration: "5", CFGScale: new(0.0), WatermarkInfo: watermark,
				CameraControl: &events.CameraControl{Type: "simple", Config: &events.CameraConfig{Zoom: -2.5}},
			},
			"text2video",
			`{"model_name":"kling-v3","prompt":"<<<voice_1>>> & more","cfg_scale":0,` +
				`"camera_control":{"type":"simple","config":{"zoom":-2.5}},"duration":"5","watermark_info":{"enabled":true}}`,
		},
		"text2video in shots": {
			events.Text2Video{
				MultiShot: true, ShotType: "customize",
				MultiPrompt: []events.Shot{{Index: 1, Prompt: "a", Duration: "2"}, {Index: 2, Prompt: "b", Duration: "3"}},
			},
			"text2video",
			`{"multi_shot":true,"shot_type":"customize","multi_prompt":[{"index":1,"prompt":"a","duration":"2"},` +
				`{"index":2,"prompt":"b","duration":"3"}]}`,
		},
		"image2video": {
			events.Image2Video{
				Image: "nats-object://inputs/a.png", ElementList: []events.Element{{ElementID: 871000000000000101}},
				VoiceList:    []events.Voice{{VoiceID: "v"}},
				DynamicMasks: []events.DynamicMask{{Mask: "m", Trajectories: []events.Point{{X: 0, Y: 7}}}},
			},
			"image2video",
			`{"image":"nats-object://inputs/a.png","element_list":[{"element_id":871000000000000101}],` +
				`"voice_list":[{"voice_id":"v"}],"dynamic_masks":[{"mask":"m","trajectories":[{"x":0,"y":7}]}]}`,
		},
		"video-extend": {
			events.VideoExtend{VideoID: "871000000000000777", Prompt: "on"},
			"video-extend", `{"video_id":"871000000000000777","prompt":"on"}`,
		},
		"lip-sync": {
			events.LipSync{Input: events.LipSyncInput{Mode: "text2video", Text: "hi", VoiceID: "v", VoiceSpeed: 1.2}},
			"lip-sync", `{"input":{"mode":"text2video","text":"hi","voice_id":"v","voice_speed":1.2}}`,
		},
		"effects": {
			events.Effects{EffectScene: "hug", Input: events.EffectsInput{Images: []string{"a", "b"}}},
			"effects", `{"effect_scene":"hug","input":{"images":["a","b"]}}`,
		},
		"text-to-video": {
			events.TextToVideo{
				Model: "kling-3.0", Prompt: "a lighthouse", Options: &events.Options{WatermarkInfo: watermark},
				Settings: &events.TextToVideoSettings{Resolution: "1080p", Duration: 10, MultiShot: new(false)},
			},
			"text-to-video",
			`{"model":"kling-3.0","prompt":"a lighthouse","settings":{"resolution":"1080p","duration":10,"multi_shot":false},` +
				`"options":{"watermark_info":{"enabled":true}}}`,
		},
		"extra fields": {
			events.Text2Video{Prompt: "a <b>", Extra: map[string]any{"seed": json.Number("1.50"), "new": []string{"&"}}},
			"text2video", `{"new":["&"],"prompt":"a <b>","seed":1.50}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := tt.body.AsRequest()
			if err != nil {
				t.Fatal(err)
			}
			if r.Kind != tt.kind || string(r.Body) != tt.want {
				t.Errorf("got %s\n%s, want %s\n%s", r.Kind, r.Body, tt.kind, tt.want)
			}
			if _, err := r.Msg(events.Subjects{}); err != nil {
				t.Errorf("the request is not valid: %v", err)
			}
		})
	}
}

func TestTypedBodiesTakeExtraFields(t *testing.T) {
	t.Parallel()
	extra := map[string]any{"new_field": true}
	for _, body := range []typedBody{
		events.Text2Video{Extra: extra}, events.Image2Video{Extra: extra}, events.VideoExtend{Extra: extra},
		events.LipSync{Extra: extra}, events.Effects{Extra: extra}, events.TextToVideo{Extra: extra},
	} {
		r, err := body.AsRequest()
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			NewField bool `json:"new_field"`
		}
		if err := json.Unmarshal(r.Body, &got); err != nil || !got.NewField {
			t.Errorf("%T: %s has no extra field", body, r.Body)
		}
	}
}

func TestTypedBodiesRefuseExtraFields(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]typedBody{
		"typed and set":   events.Text2Video{Prompt: "a", Extra: map[string]any{"prompt": "b"}},
		"not encodable":   events.Text2Video{Extra: map[string]any{"f": func() {}}},
		"never left out ": events.Effects{Extra: map[string]any{"input": 1}},
	} {
		if r, err := body.AsRequest(); err == nil {
			t.Errorf("%s: got %s, want an error", name, r.Body)
		}
	}
}
