package doctor_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/doctor"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/subjects"
)

// TestNATSClock looks at machines whose clocks are off. Recorded: a bridge 20 s behind the server polled 165 times
// instead of 18, and its doctor knew of Kling's clock alone.
func TestNATSClock(t *testing.T) {
	srv := bustest.Start(t)
	look := func(ahead time.Duration) (found doctor.Finding) {
		o := doctor.Options{
			Bridge:    bridge.Options{Kinds: kling.DefaultKinds(), Subjects: subjects.Default()},
			NATS:      bus.Options{URL: srv.URL(), Now: func() time.Time { return time.Now().Add(ahead) }},
			NoAccount: true,
			AdminURL:  "http://127.0.0.1:1",
		}
		doctor.Run(t.Context(), o, func(f doctor.Finding) {
			if f.Check == "nats clock" {
				found = f
			}
		})
		return found
	}
	if f := look(time.Hour); f.Level != doctor.Skipped {
		t.Errorf("without a stream: %+v", f)
	}
	js, err := jetstream.New(srv.Connect())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KLING_DEAD", Subjects: []string{"kling.dead.>"}}); err != nil {
		t.Fatal(err)
	}
	for ahead, want := range map[time.Duration]struct {
		level doctor.Level
		says  string
	}{
		0:                 {doctor.OK, "agrees with the NATS server's"},
		-20 * time.Second: {doctor.Warning, "this machine's clock is 20s behind the NATS server's"},
		10 * time.Minute:  {doctor.Warning, "this machine's clock is 10m0s ahead of the NATS server's"},
	} {
		f := look(ahead)
		if f.Level != want.level || !strings.Contains(f.Message, want.says) {
			t.Errorf("%s ahead: %+v", ahead, f)
		}
		if advised := strings.Contains(f.Advice, "NTP"); advised != (f.Level == doctor.Warning) {
			t.Errorf("%s ahead: the advice is %q", ahead, f.Advice)
		}
	}
}
