package dispatch

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// FuzzSlotNews lets nobody take slots that make the count wrong for good.
func FuzzSlotNews(f *testing.F) {
	f.Add([]byte(`{"replica":"b","token":"x","take":1}`), []byte(`{"replica":"b","token":"x","given":true,"full":true}`))
	f.Add([]byte(`{"replica":"b","wait":1,"waited":-9223372036854775808}`), []byte(`{"take":9223372036854775807}`))
	f.Add([]byte(`{"replica":"b","begun":[{"token":"x","take":9},{"token":"y","model":"kling-v3"}]}`), []byte(`{"replica":"b","ended":["x"]}`))
	f.Fuzz(func(t *testing.T, one, other []byte) {
		s, now := NewSlots(0), time.Now()
		turns := NewPeers(nil, "", "a")
		for _, data := range [][]byte{one, other, one} {
			turns.hear(&nats.Msg{Data: data}, lone{s}, now)
		}
		turns.until("x", want{}, now)
		turns.yields(nil, now)
		if s.reserved < 0 || s.held < 0 || s.held > 2*maxUntold || s.reserved > 2*maxTake {
			t.Errorf("%d reserved, %d held", s.reserved, s.held)
		}
		s.beginRecount()
		s.endRecount(now.Add(2 * foreignLife))
		if s.reserved != 0 || s.held != 0 || s.hearsay != 0 {
			t.Errorf("%d reserved and %d held after a recount", s.reserved, s.held)
		}
	})
}
