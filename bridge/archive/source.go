package archive

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

const (
	dialTimeout = 10 * time.Second
	// stallTimeout is how long the store may take nothing in.
	stallTimeout = 2 * time.Minute

	unknownType = "application/octet-stream"
	userAgent   = "klingbridge"
)

// source fetches files that somebody else has named.
type source struct {
	allow       Hosts
	maxBytes    int64
	readTimeout time.Duration
	public      *http.Client // reaches public addresses only
	allowed     *http.Client // for hosts that are allowed by name
}

func newSource(o Options) *source {
	return &source{
		allow: o.Allow, maxBytes: o.MaxBytes, readTimeout: o.ReadTimeout,
		public: newClient(o.ReadTimeout, publicOnly), allowed: newClient(o.ReadTimeout, nil),
	}
}

// newClient follows no redirect, keeps no cookie, and takes no proxy, which would look names up by itself.
func newClient(timeout time.Duration, control func(network, address string, c syscall.RawConn) error) *http.Client {
	dialer := &net.Dialer{Timeout: dialTimeout, Control: control}
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			TLSHandshakeTimeout:    dialTimeout,
			ResponseHeaderTimeout:  timeout,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
			DisableCompression:     true, // the bytes as they are
			ForceAttemptHTTP2:      true,
		},
	}
}

func (s *source) close() {
	s.public.CloseIdleConnections()
	s.allowed.CloseIdleConnections()
}

// client returns what may fetch a URL, or why nothing may.
func (s *source) client(u *url.URL) (*http.Client, error) {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	switch {
	case u.Hostname() == "" || u.Opaque != "" || port == "":
		return nil, fmt.Errorf("%w: not an https URL", ErrRefused)
	case u.User != nil:
		return nil, fmt.Errorf("%w: the URL holds a user", ErrRefused)
	case s.allow.allow(u.Hostname(), port):
		return s.allowed, nil
	case u.Scheme != "https":
		return nil, fmt.Errorf("%w: %s of host %s is not https", ErrRefused, u.Scheme, u.Host)
	default:
		return s.public, nil
	}
}

// open begins a download.
func (s *source) open(ctx context.Context, f File) (*download, error) {
	u, err := url.Parse(f.URL)
	if err != nil {
		return nil, fmt.Errorf("%w: not a URL", ErrRefused) // the error would quote it
	}
	client, err := s.client(u)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.URL, http.NoBody)
	if err != nil {
		cancel(err)
		return nil, fmt.Errorf("%w: not a URL", ErrRefused)
	}
	req.Header.Set("User-Agent", userAgent)
	resp, err := client.Do(req)
	if err != nil {
		cancel(err)
		return nil, withoutURL(err)
	}
	silent := time.AfterFunc(s.readTimeout, func() { cancel(errSilent) })
	d, err := s.download(resp)
	if err == nil {
		err = d.look(ctx, f.media)
	}
	if err != nil {
		silent.Stop()
		cancel(err)
		_ = resp.Body.Close() // nothing of it is wanted
		return nil, fmt.Errorf("host %s: %w", u.Host, err)
	}
	d.cancel, d.silent = cancel, silent
	return d, nil
}

// look fails when the first bytes are not what the file is announced to be. What is wrong with the body, Read says.
func (d *download) look(ctx context.Context, media string) error {
	head, _ := d.body.Peek(headLength)
	switch {
	case errors.Is(context.Cause(ctx), errSilent):
		return errSilent
	case len(head) == 0:
		return nil
	default:
		return checkMedia(media, head, d.contentType)
	}
}

func (s *source) download(resp *http.Response) (*download, error) {
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode <= 399:
		return nil, fmt.Errorf("%w: answered %d, and redirects are not followed", ErrRefused, resp.StatusCode)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("answered %d", resp.StatusCode)
	case resp.ContentLength > s.maxBytes:
		return nil, s.tooLarge()
	case resp.ContentLength == 0:
		return nil, errors.New("answered with an empty file")
	}
	return &download{
		source: s, body: bufio.NewReaderSize(resp.Body, headLength), closer: resp.Body, size: resp.ContentLength,
		contentType: mediaType(resp.Header), hash: sha256.New(),
	}, nil
}

func (s *source) tooLarge() error {
	return fmt.Errorf("%w: more than the limit of %d bytes", ErrRefused, s.maxBytes)
}

// mediaType is the content type without its parameters.
func mediaType(h http.Header) string {
	t, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return unknownType
	}
	return t
}

func withoutURL(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	return err
}

// download is a file on its way. Its end is io.EOF only when the file is whole.
type download struct {
	source      *source
	body        *bufio.Reader // of closer
	closer      io.Closer
	cancel      context.CancelCauseFunc // ends it without ending the store's work, which has to clean up
	size        int64                   // -1 where the source does not say
	contentType string

	hash   hash.Hash
	read   int64
	ended  bool
	failed error // why the file is not whole

	silent  *time.Timer // fires when the source sends nothing
	stalled *time.Timer // fires when the store asks for nothing
}

var (
	errSilent  = errors.New("the source has sent nothing for too long")
	errStalled = fmt.Errorf("the archive has taken nothing in for %s", stallTimeout)
)

// Read implements [io.Reader].
func (d *download) Read(p []byte) (int, error) {
	if d.failed != nil {
		return 0, d.failed
	}
	d.stalled.Stop()
	d.silent.Reset(d.source.readTimeout)
	n, err := d.body.Read(p)
	silent := !d.silent.Stop()
	d.stalled.Reset(stallTimeout)
	d.hash.Write(p[:n])
	d.read += int64(n)
	switch {
	case d.read > d.source.maxBytes:
		d.failed = d.source.tooLarge()
	case errors.Is(err, io.EOF) && d.read == 0:
		d.failed = errors.New("the file is empty")
	case errors.Is(err, io.EOF):
		d.ended = true
		return n, io.EOF
	case err != nil && silent:
		d.failed = errSilent
	case err != nil:
		d.failed = fmt.Errorf("broken off after %d bytes: %w", d.read, notEOF(err))
	}
	return n, d.failed
}

// notEOF renames the library's error for a body that is too short: readers take it for an end that they expect.
func notEOF(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the source sent less than it announced")
	}
	return err
}

// verify returns why the file was not copied whole. err is what the store says.
func (d *download) verify(ctx context.Context, err error) error {
	switch {
	case d.failed != nil: // the store only repeats it
		return d.failed
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return err
	case d.size >= 0 && d.read != d.size:
		return fmt.Errorf("%d bytes were copied, the source announced %d", d.read, d.size)
	case d.size < 0 && !d.ended:
		return errors.New("the archive has not read the file to its end")
	default:
		return nil
	}
}

func (d *download) sum() string { return hex.EncodeToString(d.hash.Sum(nil)) }

func (d *download) close() {
	d.silent.Stop()
	d.stalled.Stop()
	d.cancel(nil)
	_ = d.closer.Close() // what was only read from
}
