package chaos_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"hash"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/klingbridge/klingbridge/events"
)

// generated is a video of a size, whose bytes are made while they are read.
type generated struct {
	random *rand.ChaCha8
	left   int
	sum    hash.Hash
}

func (g *generated) Read(p []byte) (int, error) {
	if g.left == 0 {
		return 0, io.EOF
	}
	n, _ := g.random.Read(p[:min(len(p), g.left)]) // never fails
	g.left -= n
	g.sum.Write(p[:n])
	return n, nil
}

// byURL has a video fetched by URL, as Kling does, and a part of it, and looks at what memory that takes.
func (w *world) byURL(size int) {
	w.t.Helper()
	clip := &generated{rand.NewChaCha8([32]byte{byte(w.seed)}), size, sha256.New()}
	ref, err := w.client().Attach(w.ctx, events.Attachment{Name: "clip.mp4"}, clip)
	if err != nil {
		w.t.Fatal(err)
	}
	body, err := json.Marshal(map[string]any{"video_url": ref})
	if err != nil {
		w.t.Fatal(err)
	}
	program := w.replicas[0]
	idle := program.resident()
	w.publish(testRequest{Kind: events.KindVideoToAudio, ID: "order-1", Body: body}, "")
	var got struct {
		URL string `json:"video_url"`
	}
	if err := json.Unmarshal(w.firstCreate(), &got); err != nil {
		w.t.Fatal(err)
	}
	url := strings.Replace(got.URL, publicURL, "http://"+program.callback, 1)
	began := time.Now()
	sum := sha256.New()
	if n := w.download(url, "", sum); n != int64(size) || !bytes.Equal(sum.Sum(nil), clip.sum.Sum(nil)) {
		w.t.Errorf("%d of %d bytes, or others", n, size)
	}
	took := time.Since(began)
	if n := w.download(url, "bytes=-1000", io.Discard); n != 1000 {
		w.t.Errorf("the last 1000 bytes are %d", n)
	}
	used := program.mostResident() - idle
	w.t.Logf("%d MB in %s, at most %.1f MB above the %.1f MB of the idle program", size>>20, took, float64(used)/1e6, float64(idle)/1e6)
	if used >= 20e6 {
		w.t.Errorf("a file of %d bytes took %d more than the idle program has, want less than 20 MB", size, used)
	}
}

// firstCreate is the body of the first create call.
func (w *world) firstCreate() (created []byte) {
	w.t.Helper()
	w.eventually("the task is created", func() bool {
		select {
		case created = <-w.created:
			return true
		default:
			return false
		}
	})
	return created
}

// download copies what a URL serves, or a part of it, and returns its length.
func (w *world) download(url, part string, to io.Writer) int64 {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		w.t.Fatal(err)
	}
	if part != "" {
		req.Header.Set("Range", part)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	n, err := io.Copy(to, res.Body)
	if err != nil {
		w.t.Errorf("%s: %v", res.Status, err)
	}
	return n
}
