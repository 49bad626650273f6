package files

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/listener"
	"github.com/klingbridge/klingbridge/events"
)

// PathPrefix is that of every URL, below the public URL.
const PathPrefix = "/files/"

// Limits of downloads.
const (
	// MaxDownloads is how many there are at a time on one replica. Each has about 1 MiB in memory.
	MaxDownloads = 32
	lookTime     = 4 * time.Second  // to find the object
	writeGrace   = 20 * time.Second // beside what a download takes at the lowest rate
	lowestRate   = 64 << 10         // bytes a second: 200 MB take 53 minutes at most
)

// Server serves objects at signed URLs. Its answers: 404 for a URL that is wrong, has expired or is that of another
// deployment, and for an object that is not there; 503 while JetStream can't be read or too many downloads are under way.
type Server struct {
	Base    string        // path of the public URL, for proxies that pass it on
	Places  chan struct{} // has room for MaxDownloads
	Metrics *Metrics
	Log     *slog.Logger
	Live    atomic.Pointer[Live] // nil until JetStream is there
	// Refuse answers with a status and nothing else.
	Refuse func(http.ResponseWriter, *http.Request, int)

	grace time.Duration // beside what a download takes at the lowest rate; zero: writeGrace
	rate  int64         // the lowest, in bytes a second; zero: lowestRate
}

// Live is what a server needs of the running bridge.
type Live struct {
	Bus *bus.Bus
	// Verify tells whether a signature is that of an object's URL, which ends at expires: Unix seconds, as they are spelled.
	Verify  func(bucket, name, expires, signature string) bool
	Allowed func(bucket string) bool
}

// Path returns what follows the public URL for an object that is there until expires, and is signed so.
func Path(bucket, name, expires, signature string) string {
	escaped := url.PathEscape(name)
	if name == "." || name == ".." { // they would be resolved as steps in the path
		escaped = strings.ReplaceAll(name, ".", "%2E")
	}
	return PathPrefix + bucket + "/" + escaped + "/" + expires + "/" + signature
}

// Serves reports whether a request is for this server, and not for the callbacks beside it.
func (s *Server) Serves(r *http.Request) bool {
	_, ok := s.cut(r)
	return ok
}

func (s *Server) cut(r *http.Request) (rest string, ok bool) {
	escaped := r.URL.EscapedPath()
	if rest, ok = strings.CutPrefix(escaped, PathPrefix); ok {
		return rest, true
	}
	return strings.CutPrefix(strings.TrimPrefix(escaped, s.Base), PathPrefix)
}

// asked is what a URL says.
type asked struct{ bucket, name, expires, signature string }

// read takes a path apart. Proxies may have unescaped the slashes of a name, which is all between the bucket and the last two.
func (s *Server) read(r *http.Request) (a asked, ok bool) {
	rest, _ := s.cut(r)
	parts := strings.Split(rest, "/")
	n := len(parts)
	if n < 4 {
		return a, false
	}
	name, err := url.PathUnescape(strings.Join(parts[1:n-2], "/"))
	return asked{parts[0], name, parts[n-2], parts[n-1]}, err == nil && name != ""
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status := s.serve(w, r)
	s.Metrics.served(r.Context(), status)
	switch status {
	case http.StatusOK:
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", "GET, HEAD")
		w.Header().Set("Connection", "close")
		http.Error(w, http.StatusText(status), status)
	default:
		s.Refuse(w, r, status)
	}
}

// serve returns the status of an answer that is yet to be given, or 200.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) (status int) {
	live := s.Live.Load()
	if live == nil {
		return http.StatusServiceUnavailable
	}
	a, ok := s.read(r)
	if !ok || !live.Verify(a.bucket, a.name, a.expires, a.signature) || !live.Allowed(a.bucket) {
		return http.StatusNotFound
	}
	listener.CallerOf(r.Context()).Prove()
	if live.expired(a) {
		return http.StatusNotFound
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return http.StatusMethodNotAllowed
	}
	select {
	case s.Places <- struct{}{}:
		defer func() { <-s.Places }()
	default:
		s.Log.WarnContext(r.Context(), "too many downloads", slog.Int("under_way", MaxDownloads), slog.String("bucket", a.bucket))
		return http.StatusServiceUnavailable
	}
	o, err := live.find(r.Context(), a)
	switch {
	case errors.Is(err, jetstream.ErrObjectNotFound), errors.Is(err, jetstream.ErrBucketNotFound):
		return http.StatusNotFound
	case err != nil:
		s.Log.WarnContext(r.Context(), "serve an object", slog.String("bucket", a.bucket), slog.String("object", a.name), slog.Any("err", err))
		return http.StatusServiceUnavailable
	}
	return s.send(w, r, a, o)
}

func (lv *Live) expired(a asked) bool {
	expires, err := strconv.ParseInt(a.expires, 10, 64)
	return err != nil || lv.Bus.Now().Unix() >= expires
}

// find looks the object up. Nothing is served of a link to another object, nor where the description names another bucket,
// in which the content would be sought: that bucket may be one that is not allowed.
func (lv *Live) find(ctx context.Context, a asked) (*object, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	store, err := lv.Bus.JetStream().ObjectStore(ctx, a.bucket)
	if err != nil {
		return nil, err
	}
	info, err := store.GetInfo(ctx, a.name)
	if err != nil {
		return nil, err
	}
	if info.Opts != nil && info.Opts.Link != nil || info.Bucket != a.bucket {
		return nil, jetstream.ErrObjectNotFound
	}
	return &object{bus: lv.Bus, info: info}, nil
}

// send writes the object, or what a range asks of it. A connection that can't have it whole ends.
func (s *Server) send(w http.ResponseWriter, r *http.Request, a asked, o *object) (status int) {
	rc := http.NewResponseController(w)
	// The limits of a callback are seconds. Errors: a connection that knows no limits needs none lifted.
	_ = rc.SetReadDeadline(time.Time{})
	began := time.Now()
	o.ctx, o.pace = r.Context(), func(read int64) {
		_ = rc.SetWriteDeadline(began.Add(cmp.Or(s.grace, writeGrace) + time.Duration(read)*time.Second/time.Duration(cmp.Or(s.rate, lowestRate))))
	}
	o.pace(0)
	contentType, err := o.contentType()
	if err != nil {
		s.Log.WarnContext(r.Context(), "serve an object", slog.String("bucket", a.bucket), slog.String("object", a.name), slog.Any("err", err))
		return http.StatusServiceUnavailable
	}
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("ETag", strconv.Quote(o.info.NUID))
	header.Set("Cache-Control", "private, no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	if strings.Contains(r.Header.Get("Range"), ",") {
		r.Header.Del("Range") // the object is searched for each part of it: who wants several gets the whole
	}
	http.ServeContent(w, r, "", o.info.ModTime, o)
	if o.err != nil {
		s.Log.WarnContext(r.Context(), "download broken off", slog.String("bucket", a.bucket), slog.String("object", a.name), slog.Any("err", o.err))
		panic(http.ErrAbortHandler) // what is missing must not pass for the end
	}
	return http.StatusOK
}

// typeOf is the content type that an object's uploader tells; empty: it tells none.
func typeOf(info *jetstream.ObjectInfo) string {
	if named := info.Headers[events.HeaderContentType]; len(named) > 0 && !slices.Contains([]string{"", "application/octet-stream"}, named[0]) {
		return named[0]
	}
	return info.Metadata["content-type"]
}

// contentType is what the uploader says, or else the name, or else the first bytes.
func (o *object) contentType() (string, error) {
	if told := typeOf(o.info); told != "" {
		return told, nil
	}
	if known := events.MediaType(o.info.Name); known != "" {
		return known, nil
	}
	return o.sniff()
}
