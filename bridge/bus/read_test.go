package bus

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// answerWith is what the server says of a message, with its data in that member and its headers in one that is spelled likewise.
func answerWith(subject, header, member, data string) []byte {
	return fmt.Appendf(nil, `{"type":"io.nats.jetstream.api.v1.stream_msg_get_response","message":{"subject":%q,"seq":42,%s%q,%s%q,`+
		`"time":"2026-10-01T12:00:00.123456789Z"}}`, subject, strings.NewReplacer("data", "hdrs", "Data", "Hdrs").Replace(member), base64.StdEncoding.EncodeToString([]byte(header)),
		member, base64.StdEncoding.EncodeToString([]byte(data)))
}

const someHeader = "NATS/1.0\r\nNats-Schedule: @at 2026-10-01T12:00:00Z\r\n\r\n"

func TestDecodeMessage(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 10, 1, 12, 0, 0, 123456789, time.UTC)
	for _, member := range []string{`"data":`, `"data": `, `"Data":`} {
		for _, subject := range []string{"kling.x", `a"data":"b`, `data":"`} {
			for _, data := range []string{"", "x", strings.Repeat("{}", 700)} {
				m, err := decodeMessage(answerWith(subject, someHeader, member, data))
				if err != nil {
					t.Fatal(err)
				}
				if m.Subject != subject || m.Seq != 42 || !m.Time.Equal(at) || m.Garbled || len(m.Header) != 1 || !bytes.Equal(m.Data, []byte(data)) {
					t.Errorf("%s of %q: got %+v", member, subject, m)
				}
			}
		}
	}
	for answer, want := range map[string]string{
		`{"message":{"subject":"a","seq":1,"data":"?"}}`:             "illegal base64",
		`{"message":{"subject":"a","seq":1,"data":"eA==`:             "unexpected end",
		`{"message":{"subject":"a","seq":1,"hdrs":"?"}}`:             "illegal base64",
		`{"error":{"code":503,"err_code":10008,"description":"no"}}`: "10008",
		`{}`: "empty answer",
	} {
		if m, err := decodeMessage([]byte(answer)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %+v, %v", answer, m, err)
		}
	}
	if _, err := decodeMessage([]byte(`{"error":{"code":404,"err_code":10037}}`)); !errors.Is(err, ErrNoMessage) {
		t.Errorf("got %v", err)
	}
	m, err := decodeMessage(answerWith("a", "garbled", `"data":`, "x"))
	if err != nil || !m.Garbled || len(m.Header) > 0 {
		t.Errorf("got %+v, %v", m, err)
	}
}

func BenchmarkDecodeMessage(b *testing.B) {
	answer := answerWith("kling-state.pending.text2video.video.order-000000042", someHeader, `"data":`, strings.Repeat("x", 800))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeMessage(bytes.Clone(answer)); err != nil {
			b.Fatal(err)
		}
	}
}
