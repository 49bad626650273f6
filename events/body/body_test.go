package body_test

import (
	"encoding/json"
	"testing"

	"github.com/klingbridge/klingbridge/events"
	"github.com/klingbridge/klingbridge/events/body"
)

func TestTypedBodies(t *testing.T) {
	t.Parallel()
	watermark := &body.WatermarkInfo{Enabled: true}
	for name, tt := range map[string]struct {
		body events.Body
		kind string
		want string
	}{
		"text2video": {
			body.Text2Video{
				ModelName: "kling-v3", Prompt: "<<<voice_1>>> & more", Duration: "5", CFGScale: new(0.0), WatermarkInfo: watermark,
				CameraControl: &body.CameraControl{Type: "simple", Config: &body.CameraConfig{Zoom: -2.5}},
			},
			"text2video",
			`{"model_name":"kling-v3","prompt":"<<<voice_1>>> & more","cfg_scale":0,` +
				`"camera_control":{"type":"simple","config":{"zoom":-2.5}},"duration":"5","watermark_info":{"enabled":true}}`,
		},
		"text2video in shots": {
			body.Text2Video{
				MultiShot: true, ShotType: "customize",
				MultiPrompt: []body.Shot{{Index: 1, Prompt: "a", Duration: "2"}, {Index: 2, Prompt: "b", Duration: "3"}},
			},
			"text2video",
			`{"multi_shot":true,"shot_type":"customize","multi_prompt":[{"index":1,"prompt":"a","duration":"2"},` +
				`{"index":2,"prompt":"b","duration":"3"}]}`,
		},
		"image2video": {
			body.Image2Video{
				Image: "nats-object://inputs/a.png", ElementList: []body.Element{{ElementID: 871000000000000101}},
				VoiceList:    []body.Voice{{VoiceID: "v"}},
				DynamicMasks: []body.DynamicMask{{Mask: "m", Trajectories: []body.Point{{X: 0, Y: 7}}}},
			},
			"image2video",
			`{"image":"nats-object://inputs/a.png","element_list":[{"element_id":871000000000000101}],` +
				`"voice_list":[{"voice_id":"v"}],"dynamic_masks":[{"mask":"m","trajectories":[{"x":0,"y":7}]}]}`,
		},
		"video-extend": {
			body.VideoExtend{VideoID: "871000000000000777", Prompt: "on"},
			"video-extend", `{"video_id":"871000000000000777","prompt":"on"}`,
		},
		"lip-sync": {
			body.LipSync{Input: body.LipSyncInput{Mode: "text2video", Text: "hi", VoiceID: "v", VoiceSpeed: 1.2}},
			"lip-sync", `{"input":{"mode":"text2video","text":"hi","voice_id":"v","voice_speed":1.2}}`,
		},
		"effects": {
			body.Effects{EffectScene: "hug", Input: body.EffectsInput{Images: []string{"a", "b"}}},
			"effects", `{"effect_scene":"hug","input":{"images":["a","b"]}}`,
		},
		"text-to-video": {
			body.TextToVideo{
				Model: "kling-3.0", Prompt: "a lighthouse", Options: &body.Options{WatermarkInfo: watermark},
				Settings: &body.TextToVideoSettings{Resolution: "1080p", Duration: 10, MultiShot: new(false)},
			},
			"text-to-video",
			`{"model":"kling-3.0","prompt":"a lighthouse","settings":{"resolution":"1080p","duration":10,"multi_shot":false},` +
				`"options":{"watermark_info":{"enabled":true}}}`,
		},
		"raw": {
			body.Raw("new-kind", []byte(" {\"n\": 1.0}\n")), "new-kind", " {\"n\": 1.0}\n",
		},
		"extra fields": {
			body.Text2Video{Prompt: "a <b>", Extra: map[string]any{"seed": json.Number("1.50"), "new": []string{"&"}}},
			"text2video", `{"new":["&"],"prompt":"a <b>","seed":1.50}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			msg, err := events.NewRequest(events.Subjects{}, tt.body, events.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if want := "kling.request." + tt.kind; msg.Subject != want || string(msg.Data) != tt.want {
				t.Errorf("got %s\n%s, want %s\n%s", msg.Subject, msg.Data, want, tt.want)
			}
		})
	}
}

func TestTypedBodiesTakeExtraFields(t *testing.T) {
	t.Parallel()
	extra := map[string]any{"new_field": true}
	for _, typed := range []events.Body{
		body.Text2Video{Extra: extra}, body.Image2Video{Extra: extra}, body.VideoExtend{Extra: extra},
		body.LipSync{Extra: extra}, body.Effects{Extra: extra}, body.TextToVideo{Extra: extra},
	} {
		msg, err := events.NewRequest(events.Subjects{}, typed, events.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			NewField bool `json:"new_field"`
		}
		if err := json.Unmarshal(msg.Data, &got); err != nil || !got.NewField {
			t.Errorf("%T: %s has no extra field", typed, msg.Data)
		}
	}
}

func TestTypedBodiesRefuseExtraFields(t *testing.T) {
	t.Parallel()
	for name, typed := range map[string]events.Body{
		"typed and set":   body.Text2Video{Prompt: "a", Extra: map[string]any{"prompt": "b"}},
		"not encodable":   body.Text2Video{Extra: map[string]any{"f": func() {}}},
		"never left out ": body.Effects{Extra: map[string]any{"input": 1}},
	} {
		if msg, err := events.NewRequest(events.Subjects{}, typed, events.Options{}); err == nil {
			t.Errorf("%s: got %s, want an error", name, msg.Data)
		}
	}
}
