package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestVerdicts(t *testing.T) {
	pairs := []pair{{90, 100}, {30, 100}, {80, 100}, {85, 100}, {200, 100}} // the median ratio is 0.85
	for _, test := range []struct {
		name   string
		target target
		want   string
	}{
		{"at least, reached", atLeast(0.8, ratio), "holds"},
		{"at least, reached exactly", atLeast(0.85, ratio), "holds"},
		{"at least, missed", atLeast(1, ratio), "misses by 15 %"},
		{"at most, kept", atMost(1.2, ratio), "holds"},
		{"at most, missed", atMost(0.5, ratio), "misses by 70 %"},
		{"a miss is never by nothing", atMost(0.8499, ratio), "misses by 1 %"},
		{"the program's own figure", atMost(40, value), "misses by 112 %"},
		{"difference", atLeast(10, difference), "misses by 250 %"},
		{"no target", reportOnly(), "report"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := new(bench).judge("figure", plainly, test.target, pairs)
			if r.Verdict != test.want {
				t.Errorf("%s, want %s", r.Verdict, test.want)
			}
			if r.Bridge != 85 || r.Reference != 100 || r.Ratio != 0.85 {
				t.Errorf("medians %g and %g, ratio %g", r.Bridge, r.Reference, r.Ratio)
			}
		})
	}
}

func TestNothingMeasuredHoldsNothing(t *testing.T) {
	if v := atMost(1, ratio).verdict(math.NaN()); v != "not measured" {
		t.Error(v)
	}
}

func TestReport(t *testing.T) {
	b := &bench{quick: true}
	r := newReport(t.Context(), b.quick)
	r.Rows = []row{
		b.judge("rate", perSecond, atLeast(1, ratio), []pair{{100, 200}, {300, 200}, {150, 200}}),
		b.judge("memory", bytesUsed, atMost(1<<20, difference), []pair{{3 << 20, 2 << 20}}),
		b.judge("alone", bytesUsed, reportValue(), []pair{{bridge: 5 << 20}}),
	}
	r.finish()
	var table bytes.Buffer
	r.print(&table)
	for _, want := range []string{
		"rate *    150/s   200/s      0.75   0.50 … 1.50  ≥ 1 ×      misses by 25 %",
		"memory *  3.0 MB  2.0 MB     1.50                ≤ +1.0 MB  holds",
	} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("no line %q in\n%s", want, table.String())
		}
	}
	file := filepath.Join(t.TempDir(), "bench.json")
	if err := r.write(file); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var read report
	if err := json.Unmarshal(data, &read); err != nil {
		t.Fatal(err)
	}
	if len(read.Rows) != 3 || read.Rows[0] != r.Rows[0] || !read.Quick || read.Machine != r.Machine {
		t.Errorf("read %+v", read)
	}
}

func TestCallbacksHaveTheirSize(t *testing.T) {
	body := finished(task{id: "871000000000000001", externalID: "k1234567-order-000000001"})
	if len(body) != callbackBytes || !json.Valid(body) {
		t.Errorf("%d bytes: %s", len(body), body)
	}
	shot := newShot("127.0.0.1:1", "/callbacks/text2video/order-1/x", "order-1", body)
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(shot.raw)))
	if err != nil {
		t.Fatal(err)
	}
	if r.Method != http.MethodPost || r.URL.Path != "/callbacks/text2video/order-1/x" || r.ContentLength != callbackBytes {
		t.Errorf("%s %s, %d bytes", r.Method, r.URL, r.ContentLength)
	}
}

func TestQuantile(t *testing.T) {
	var times []time.Duration
	for i := range 100 {
		times = append(times, time.Duration(100-i))
	}
	if p50, p99 := quantile(times, 0.5), quantile(times, 0.99); p50 != 51 || p99 != 100 {
		t.Errorf("p50 %d, p99 %d", p50, p99)
	}
}
