package bridge_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

// TestSyncCallsArePublic holds the constants for users to the table of calls.
func TestSyncCallsArePublic(t *testing.T) {
	t.Parallel()
	var names []string
	for _, call := range kling.SyncCalls() {
		names = append(names, call.Name)
	}
	public := events.Calls()
	slices.Sort(names)
	slices.Sort(public)
	if !slices.Equal(names, public) {
		t.Errorf("got %q, want %q", public, names)
	}
}

const speech = `{"text":"hello","voice_id":"v","voice_language":"en"}`

// call makes a call as any NATS client would and returns the answer.
func (w *world) call(name, body string, header nats.Header) *nats.Msg {
	w.t.Helper()
	msg := &nats.Msg{Subject: "kling.call." + name, Data: []byte(body), Header: header}
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	answer, err := w.nc.RequestMsgWithContext(ctx, msg)
	if err != nil {
		w.t.Fatalf("call %s: %v", name, err)
	}
	return answer
}

// callOK makes a call that Kling does not refuse, and returns its data.
func (w *world) callOK(name, body string) (data struct {
	Session string `json:"session_id"`
	Faces   []struct {
		ID string `json:"face_id"`
	} `json:"face_data"`
}) {
	w.t.Helper()
	answer := w.call(name, body, nil)
	if code := answer.Header.Get(micro.ErrorCodeHeader); code != "" {
		w.t.Fatalf("call %s %s: %s %s", name, body, code, answer.Header.Get(micro.ErrorHeader))
	}
	_ = json.Unmarshal(answer.Data, &data) // lists have no session
	return data
}

// callFails makes a call that comes to an error.
func (w *world) callFails(name, body, code string) (message string, retryable bool) {
	w.t.Helper()
	answer := w.call(name, body, nil)
	message = answer.Header.Get(micro.ErrorHeader)
	if got := answer.Header.Get(micro.ErrorCodeHeader); got != code || message == "" || len(answer.Data) > 0 {
		w.t.Errorf("call %s %s: %s %q %s, want %s", name, body, got, message, answer.Data, code)
	}
	return message, answer.Header.Get(events.HeaderErrorRetryable) == "true"
}

// TestEverySyncCall makes each call once.
func TestEverySyncCall(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	session := w.callOK("multi-elements-init", `{"video_id":"1"}`).Session
	points := `{"session_id":"` + session + `","frame_index":3,"points":[{"x":0.25,"y":1}]}`
	inSession := `{"session_id":"` + session + `"}`
	for name, body := range map[string]string{
		"identify-face":          `{"video_url":"https://files.test/a.mp4"}`,
		"tts":                    speech,
		"image-recognize":        `{"image":"aGVsbG8="}`,
		"multi-elements-add":     points,
		"multi-elements-delete":  points,
		"multi-elements-clear":   inSession,
		"multi-elements-preview": inSession,
		"delete-voices":          `{"voice_id":"1"}`,
		"delete-elements":        `{"element_id":871000000000000101}`,
		"presets-voices":         `{"pageNum":1,"pageSize":"30","unset":null}`,
		"presets-elements":       ``,
	} {
		w.callOK(name, body)
	}
	calls := w.sim.Calls().SyncDone
	for _, call := range kling.SyncCalls() {
		if call.Name != events.CallAccountCosts && calls[call.Name] != 1 {
			t.Errorf("%s: %d calls", call.Name, calls[call.Name])
		}
	}
	costs := w.call("account-costs", `{"start_time":1775000000123,"end_time":1775000229530}`, nil)
	if !strings.Contains(string(costs.Data), `"resource_pack_subscribe_infos"`) || w.sim.Calls().AccountCosts != 1 {
		t.Errorf("account-costs: %s %v", costs.Data, costs.Header)
	}
	if got := w.call("delete-elements", `{"element_id":2}`, nil); string(got.Data) != "{}" {
		t.Errorf("a deletion without data: %q", got.Data)
	}
	if message, _ := w.callFails("delete-elements", `{"element_id":2}`, "400"); !strings.Contains(message, "code 1201") {
		t.Errorf("a second deletion: %s", message)
	}
	w.noViolations()
}

// TestLipSyncByCalls goes from a face to the video in which it speaks.
func TestLipSyncByCalls(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	data, err := w.client.Call(w.ctx, events.CallIdentifyFace, []byte(`{"video_id":"871000000000000777"}`), events.CallOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var found struct {
		Session string `json:"session_id"`
		Faces   []struct {
			ID string `json:"face_id"`
		} `json:"face_data"`
	}
	if err := json.Unmarshal(data, &found); err != nil || len(found.Faces) == 0 {
		t.Fatalf("%s: %v", data, err)
	}
	chosen := func(face string) json.RawMessage {
		return body(map[string]any{"session_id": found.Session, "face_choose": []any{map[string]any{
			"face_id": face, "sound_file": "aGVsbG8=", "sound_start_time": 0, "sound_end_time": 3000, "sound_insert_time": 0,
		}}})
	}
	w.request(testRequest{Kind: events.KindAdvancedLipSync, ID: "speaks", Body: chosen(found.Faces[0].ID)})
	if ev := w.await("speaks"); ev.Status != events.StatusSucceed || len(ev.Result.Videos) != 1 {
		t.Errorf("%+v", ev)
	}
	w.request(testRequest{Kind: events.KindAdvancedLipSync, ID: "nobody", Body: chosen("7")})
	if ev := w.await("nobody"); ev.Status != events.StatusRejected {
		t.Errorf("a face that was not found: %+v", ev)
	}
	w.noViolations()
}

// TestCallsPassOnBytes has bodies and data arrive as they were spelled.
func TestCallsPassOnBytes(t *testing.T) {
	t.Parallel()
	const (
		sent  = "{ \"text\":\"a\\u0026b <\\/c>\" ,\"voice_id\":\"v\",\"voice_language\":\"zh\",\n \"voice_speed\":1.50,\"new\":[871000000000000101]}"
		given = `{ "id":871000000000000101,"n":1.50, "url":"https://a/b?c=d&e=<f>" ,"old":null}`
	)
	got := make(chan klingtest.SyncView, 9)
	w := start(t, setup{sim: klingtest.Options{Faults: klingtest.Faults{Sync: func(v klingtest.SyncView) klingtest.Fault {
		got <- v
		return klingtest.Raw{Body: `{"code":0,"message":"SUCCEED","data":` + given + `}`}
	}}}})
	answer := w.call("tts", sent, nil)
	if string(answer.Data) != given || answer.Header.Get("Content-Type") != "application/json" {
		t.Errorf("answer %s %v", answer.Data, answer.Header)
	}
	if v := <-got; string(v.Body) != sent {
		t.Errorf("Kling got %s", v.Body)
	}
	w.call("presets-voices", `{"pageNum":2,"pageSize":"10","a b":"ä&=","x":true,"y":1.50,"z":null}`, nil)
	if v := <-got; v.URL.RawQuery != "pageNum=2&pageSize=10&a+b=%C3%A4%26%3D&x=true&y=1.50" {
		t.Errorf("query %s", v.URL.RawQuery)
	}

	store, err := w.js.CreateObjectStore(w.ctx, jetstream.ObjectStoreConfig{Bucket: "in"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.PutBytes(w.ctx, "a.png", []byte("\x89PNG\r\n\x1a\n")); err != nil {
		t.Fatal(err)
	}
	w.call("image-recognize", `{"n":1.50,"image":"nats-object://in/a.png"}`, nil)
	if v := <-got; string(v.Body) != `{"n":1.50,"image":"iVBORw0KGgo="}` {
		t.Errorf("with an image Kling got %s", v.Body)
	}
	w.noViolations()
}

// TestErrorsOfCalls has calls fail in every way. Each is sent once at most, and says whether Kling may have done it.
func TestErrorsOfCalls(t *testing.T) {
	t.Parallel()
	next := make(chan klingtest.Fault, 1)
	w := start(t, setup{sim: klingtest.Options{Faults: klingtest.Faults{Sync: func(klingtest.SyncView) klingtest.Fault {
		return <-next
	}}}})
	const maybe, refused = "may have done it", "code 1201"
	sent := 0
	for name, c := range map[string]struct {
		fault     klingtest.Fault
		code      string
		says      string
		retryable bool
	}{
		"refused":         {klingtest.Answer{Code: 1201, Message: "Voice id not found"}, "400", "Voice id not found", false},
		"refused in 200":  {klingtest.Answer{HTTPStatus: 200, Code: 1201}, "400", refused, false},
		"policy":          {klingtest.Answer{Code: 1301}, "400", "code 1301", false},
		"no credit":       {klingtest.Answer{Code: 1102}, "400", "code 1102", true},
		"no permission":   {klingtest.Answer{Code: 1103}, "400", "code 1103", false},
		"too fast":        {klingtest.TooFast1302, "429", "code 1302", true},
		"no capacity":     {klingtest.Answer{Code: 1303}, "429", "code 1303", true},
		"429":             {klingtest.TooFastNoCode429, "429", "HTTP 429", true},
		"5000":            {klingtest.Error500AfterStore, "502", maybe, false},
		"5001":            {klingtest.Error503NoTask, "502", maybe, false},
		"5002":            {klingtest.Answer{Code: 5002}, "504", maybe, false},
		"gateway":         {klingtest.HTML502NoTask, "502", maybe, false},
		"gateway timeout": {klingtest.Gateway504AfterStore, "504", maybe, false},
		"page":            {klingtest.Page{Title: "Attention Required!"}, "502", "Attention Required!", true},
		"page in 200":     {klingtest.Page{HTTPStatus: 200, Title: "Just a moment..."}, "502", "Just a moment...", false},
		"not Kling's":     {klingtest.Raw{Body: `{"status":"queued"}`}, "502", "HTTP 200", false},
		"reset":           {klingtest.ResetAfterStore, "502", maybe, false},
		"reset before":    {klingtest.ResetBeforeStore, "502", maybe, false},
		"broken off":      {klingtest.TruncateAfterStore, "502", maybe, false},
	} {
		next <- c.fault
		message, retryable := w.callFails("tts", speech, c.code)
		if !strings.Contains(message, c.says) || retryable != c.retryable {
			t.Errorf("%s: %q, retryable %t; want %q, %t", name, message, retryable, c.says, c.retryable)
		}
		if sent++; w.sim.Calls().Sync["tts"] != sent {
			t.Fatalf("%s: %d calls, want %d", name, w.sim.Calls().Sync["tts"], sent)
		}
	}
}

// TestCallsThatAreNotSent are refused before Kling hears of them.
func TestCallsThatAreNotSent(t *testing.T) {
	t.Parallel()
	w := start(t, setup{bridge: bridge.Options{InputBuckets: []string{"in"}}})
	for _, c := range []struct{ name, body, says string }{
		{"tts", `[]`, "want a JSON object"},
		{"tts", `{"text":`, "not JSON"},
		{"tts", "{\"text\":\"\xff\"}", "UTF-8"},
		{"image-recognize", `{"image":"nats-object://in/a"}`, "no such bucket"},
		{"image-recognize", `{"image":"nats-object://secrets/a"}`, "BRIDGE_INPUT_BUCKETS"},
		{"presets-voices", `{"pageNum":[1]}`, "pageNum"},
		{"presets-voices", `{"x":"` + strings.Repeat("x", 5000) + `"}`, "5002 bytes as a query"},
	} {
		if message, _ := w.callFails(c.name, c.body, "400"); !strings.Contains(message, c.says) || strings.ContainsAny(message, "\r\n") {
			t.Errorf("%s %.40s: %q, want %q", c.name, c.body, message, c.says)
		}
	}
	for account, code := range map[string]string{"default": "", "other": "400"} {
		answer := w.call("presets-voices", "", nats.Header{"kling-account": {account}})
		if got := answer.Header.Get(micro.ErrorCodeHeader); got != code {
			t.Errorf("account %s: code %q, want %q: %v", account, got, code, answer.Header)
		}
	}
	if calls := w.sim.Calls(); len(calls.Sync) != 1 || calls.Sync["presets-voices"] != 1 {
		t.Errorf("Kling was asked: %v", calls.Sync)
	}
	_, err := w.client.Call(w.ctx, events.CallTTS, []byte(`[]`), events.CallOptions{Account: "other"})
	if api, ok := errors.AsType[*events.APIError](err); !ok || api.Code != 400 || !strings.Contains(api.Message, `"other"`) {
		t.Errorf("got %v", err)
	}
}

// TestCallNobodyAnswers has Kling away, and then silent.
func TestCallNobodyAnswers(t *testing.T) {
	t.Parallel()
	silent := make(chan struct{})
	client := func(w *world, base string) *kling.Client {
		c, err := kling.NewClient(kling.Options{
			BaseURL: base, Credentials: kling.Credentials{APIKey: apiKey}, Timeout: 300 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		w.t.Cleanup(c.Close)
		return c
	}
	gone := listenLocal(t)
	away := "http://" + gone.Addr().String()
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	w := start(t, setup{
		sim: klingtest.Options{Faults: klingtest.Faults{Sync: func(klingtest.SyncView) klingtest.Fault {
			close(silent) // a second call would panic
			return klingtest.HangAfterStore
		}}},
		bridge: bridge.Options{Kling: client(&world{t: t}, away)},
	})
	if message, retryable := w.callFails("tts", speech, "502"); !strings.Contains(message, "refused") ||
		!strings.Contains(message, "has not got it") || !retryable {
		t.Errorf("%s, retryable %t", message, retryable)
	}
	w.replicas[0].stop()
	w.startBridge(setup{bridge: bridge.Options{Kling: client(w, w.sim.URL)}})
	message, retryable := w.callFails("tts", speech, "504")
	if !strings.Contains(message, "no answer within 300ms") || !strings.Contains(message, "may have done it") || retryable {
		t.Errorf("%s, retryable %t", message, retryable)
	}
	<-silent
}

// TestSpeechIsSentOnce has answers of a call that is paid for get lost between three replicas and Kling, also on a connection
// that was used before and with a token that Kling does not like.
func TestSpeechIsSentOnce(t *testing.T) {
	t.Parallel()
	const calls = 60
	w := start(t, setup{replicas: 3, sim: klingtest.Options{Faults: klingtest.Faults{Sync: func(v klingtest.SyncView) klingtest.Fault {
		switch v.Seen % 6 {
		case 1:
			return klingtest.ResetBeforeStore
		case 3:
			return klingtest.ResetAfterStore
		case 5:
			return klingtest.Answer{Code: 1002}
		default:
			return nil
		}
	}}}})
	asked := make(chan error, calls)
	for range calls {
		go func() {
			_, err := w.client.Call(w.ctx, events.CallTTS, []byte(speech), events.CallOptions{})
			if api, ok := errors.AsType[*events.APIError](err); ok && api.Kling != nil {
				err = nil
			}
			asked <- err
		}()
	}
	for range calls {
		if err := <-asked; err != nil {
			t.Error(err)
		}
	}
	if n := w.sim.Calls().Sync["tts"]; n > calls {
		t.Errorf("%d calls for %d that were asked for", n, calls)
	}
	w.noViolations()
}

// TestRefusedTokenSendsNoCallTwice uses a pair of keys, of which a create call would sign another token.
func TestRefusedTokenSendsNoCallTwice(t *testing.T) {
	t.Parallel()
	w := &world{t: t, ctx: t.Context()}
	w.startSim(klingtest.Options{AccessKey: "a", SecretKey: "s", Faults: klingtest.Faults{Sync: func(klingtest.SyncView) klingtest.Fault {
		return klingtest.Answer{Code: 1002}
	}}})
	client := w.klingClient(kling.Credentials{AccessKey: "a", SecretKey: "s"}, nil)
	for i, call := range kling.SyncCalls()[:2] {
		if _, err := client.Sync(w.ctx, call, []byte(`{"video_id":"1"}`)); err == nil || w.sim.Calls().Sync[call.Name] > 1 {
			t.Errorf("%d: %v after %v", i, err, w.sim.Calls().Sync)
		}
	}
}

// TestCallsUnderWayAreBounded has one more asked for than a replica makes at a time, and the replica stop in the middle.
func TestCallsUnderWayAreBounded(t *testing.T) {
	t.Parallel()
	const most = 16
	begun, release := make(chan struct{}, most+1), make(chan struct{})
	w := &world{t: t, ctx: t.Context(), urls: bustest.Start(t).URL()}
	w.startSim(klingtest.Options{Faults: klingtest.Faults{Sync: func(klingtest.SyncView) klingtest.Fault {
		begun <- struct{}{}
		<-release
		return nil
	}}})
	w.connect()
	patient, err := kling.NewClient(kling.Options{BaseURL: w.sim.URL, Credentials: kling.Credentials{APIKey: apiKey}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(patient.Close)
	w.replicas = append(w.replicas, w.startBridge(setup{bridge: bridge.Options{Kling: patient, ShutdownTimeout: time.Minute}}))
	answers := make(chan error, most)
	for range most {
		go func() {
			_, err := w.client.Call(w.ctx, events.CallTTS, []byte(speech), events.CallOptions{})
			answers <- err
		}()
	}
	for range most {
		<-begun
	}
	if message, retryable := w.callFails("tts", speech, "429"); !strings.Contains(message, "16 calls are under way") || !retryable {
		t.Errorf("%q, retryable %t", message, retryable)
	}
	stopped := make(chan struct{})
	go func() {
		w.replicas[0].stop()
		close(stopped)
	}()
	w.eventually("nobody answers any more", func() bool {
		_, err := w.client.Call(w.ctx, events.CallPresetsVoices, nil, events.CallOptions{})
		return errors.Is(err, events.ErrNoAnswer)
	})
	close(release)
	for range most {
		if err := <-answers; err != nil {
			t.Errorf("under way when it stopped: %v", err)
		}
	}
	<-stopped
	if n := w.sim.Calls().SyncDone["tts"]; n != most {
		t.Errorf("%d calls, want %d", n, most)
	}
}

// TestCallsAreTracedAndCounted follows a call's trace to Kling.
func TestCallsAreTracedAndCounted(t *testing.T) {
	t.Parallel()
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	t.Cleanup(func() { _ = provider.Shutdown(context.WithoutCancel(t.Context())) })
	w := start(t, setup{bridge: metered(t, bridge.Options{TracerProvider: provider})})
	w.call("tts", speech, nats.Header{"traceparent": {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}})
	w.callFails("tts", `{}`, "400")
	w.eventually("the spans are in the caller's trace", func() bool {
		return connected(exporter.GetSpans(), []string{"process kling.call.{name}", "HTTP POST"})
	})
	w.counted(map[string]float64{
		`kling_call_answers_total{call="tts",code="200"}`:           1,
		`kling_call_answers_total{call="tts",code="400"}`:           1,
		`kling_call_answers_total{call="delete-voices",code="200"}`: 0,
		`kling_call_errors_total{call="tts",code="1201"}`:           1,
	})
}
