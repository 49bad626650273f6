package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

// settingsBefore is the stream of settings as earlier releases made it.
var settingsBefore = jetstream.StreamConfig{
	Name: "KLING_SETTINGS", Subjects: []string{"kling-state.setting.*"}, MaxMsgsPerSubject: 1,
}

// trick has the server send its answer to a publish, which anybody may make who may publish anything that is stored, to
// each of these subjects.
func (w *world) trick(replies ...string) {
	w.t.Helper()
	if _, err := w.js.CreateOrUpdateStream(w.ctx, jetstream.StreamConfig{Name: "NOISE", Subjects: []string{"noise"}}); err != nil {
		w.t.Fatal(err)
	}
	answered := func() {
		w.t.Helper()
		if _, err := w.js.Publish(w.ctx, "noise", nil); err != nil {
			w.t.Fatal(err)
		}
	}
	answered() // in a cluster it takes a moment until what is published gets there
	for _, reply := range replies {
		if err := w.nc.PublishRequest("noise", reply, nil); err != nil {
			w.t.Fatal(err)
		}
	}
	answered() // after those
}

// settings returns what is stored, by name.
func (w *world) settings() map[string]string {
	w.t.Helper()
	all := map[string]string{}
	for _, m := range w.stored("KLING_SETTINGS", "kling-state.setting.>") {
		all[strings.TrimPrefix(m.Subject, "kling-state.setting.")] = string(m.Data)
	}
	return all
}

func TestSettingsStayAsTheyAre(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent()})
	before := w.settings()
	if len(before["callback-secret"]) < 52 || len(before["namespace"]) < 52 {
		t.Fatalf("settings of %d and %d bytes", len(before["callback-secret"]), len(before["namespace"]))
	}
	task := w.task("text2video", "before")
	w.trick("kling-state.setting.callback-secret", "kling-state.setting.namespace", "kling-state.setting.last")
	w.eventually("the server has answered", func() bool { return w.settings()["last"] != "" })
	after := w.settings()
	for _, name := range []string{"callback-secret", "namespace"} {
		if after[name] != before[name] {
			t.Errorf("%s was replaced by %s", name, after[name])
		}
	}
	next := w.startBridge(setup{})
	if got := w.post(strings.Replace(task.CallbackURL, w.replicas[0].callbackURL, next.callbackURL, 1), v1Body(task, "succeed")); got != 200 {
		t.Errorf("a replica that started later answers %d", got)
	}
}

// TestSettingsOfAnEarlierRelease has a stream whose settings could be replaced taken over, with what it holds.
func TestSettingsOfAnEarlierRelease(t *testing.T) {
	t.Parallel()
	srv := bustest.Start(t)
	w := &world{t: t, ctx: t.Context(), urls: srv.URL()}
	w.startSim(klingtest.Options{})
	w.connect()
	stream, err := w.js.CreateStream(w.ctx, settingsBefore)
	if err != nil {
		t.Fatal(err)
	}
	secret := strings.Repeat("A2", 26)
	if _, err := w.js.Publish(w.ctx, "kling-state.setting.callback-secret", []byte(secret)); err != nil {
		t.Fatal(err)
	}
	w.startBridge(setup{})
	if got := w.settings()["callback-secret"]; got != secret {
		t.Errorf("the secret is %q, want the one that was there", got)
	}
	info, err := stream.Info(w.ctx)
	if err != nil || info.Config.Discard != jetstream.DiscardNew || !info.Config.DiscardNewPerSubject {
		t.Errorf("discard is %s, per subject %t, %v", info.Config.Discard, info.Config.DiscardNewPerSubject, err)
	}
	if ev := w.await(w.submit("updated", "a")); ev.Status != events.StatusSucceed {
		t.Errorf("got %+v", ev)
	}
}

// TestForeignSettingStopsTheBridge has somebody else's value where the callback secret is kept.
func TestForeignSettingStopsTheBridge(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{
		"answer to a publish": `{"stream":"KLING_REQUESTS","seq":17}`,
		"too short":           strings.Repeat("A", 51),
		"empty":               "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &world{t: t, ctx: t.Context(), urls: bustest.Start(t).URL()}
			w.startSim(klingtest.Options{})
			w.connect()
			if _, err := w.js.CreateStream(w.ctx, settingsBefore); err != nil {
				t.Fatal(err)
			}
			if _, err := w.js.Publish(w.ctx, "kling-state.setting.callback-secret", []byte(value)); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(w.ctx, patience)
			defer cancel()
			err := w.newBridge(setup{}, &running{}).Run(ctx)
			if err == nil || !strings.Contains(err.Error(), "message 1 of stream KLING_SETTINGS") {
				t.Errorf("got %v", err)
			}
			if err != nil && value != "" && strings.Contains(err.Error(), value) {
				t.Errorf("%q repeats the value", err)
			}
		})
	}
}

// TestReplicasShareSettings starts several at once on one server and on a cluster: whatever their writes are refused
// with, they agree.
func TestReplicasShareSettings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		url      func(*testing.T) string
		replicas int
	}{
		"R1": {func(t *testing.T) string { return bustest.Start(t).URL() }, 1},
		"R3": {func(t *testing.T) string { return bustest.StartCluster(t).URL() }, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &world{t: t, ctx: t.Context(), urls: c.url(t)}
			w.startSim(silent())
			w.connect()
			s := setup{bridge: bridge.Options{StreamReplicas: c.replicas}}
			var all [4]*running
			for i := range all {
				all[i] = w.launch(s)
			}
			for _, r := range all {
				w.waitReady(r)
			}
			task := w.task("text2video", "shared")
			for _, r := range all {
				_, path, _ := strings.Cut(task.CallbackURL, "/callbacks/")
				w.eventually("a replica takes it", func() bool { // Kling comes back where JetStream was too slow
					got := w.post(r.callbackURL+"/callbacks/"+path, v1Body(task, "processing"))
					if got != http.StatusOK && got != http.StatusServiceUnavailable {
						t.Fatalf("one of the replicas answers %d", got)
					}
					return got == http.StatusOK
				})
			}
		})
	}
}

// TestReconciliationGoesOn has somebody else's message where replicas note whose turn it is to reconcile.
func TestReconciliationGoesOn(t *testing.T) {
	t.Parallel()
	w := start(t, setup{replicas: 2, bridge: bridge.Options{ReconcileInterval: 300 * time.Millisecond}})
	for i := range 3 {
		before, _ := w.lastTurn()
		w.trick("kling-state.setting.reconciled", fmt.Sprintf("kling-state.setting.last-%d", i))
		w.eventually("a replica has its turn", func() bool {
			seq, note := w.lastTurn()
			return seq > before && note != "" && !strings.HasPrefix(note, "{")
		})
	}
}

// lastTurn is the last note of a replica that took its turn, or what is there instead.
func (w *world) lastTurn() (seq uint64, note string) {
	w.t.Helper()
	s, err := w.js.Stream(w.ctx, "KLING_SETTINGS")
	if err != nil {
		w.t.Fatal(err)
	}
	m, err := s.GetLastMsgForSubject(w.ctx, "kling-state.setting.reconciled")
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, ""
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return m.Sequence, string(m.Data)
}
