package kling_test

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

// hijack hands a handler the connection, after the request was read.
func hijack(t *testing.T, then func(conn *net.TCPConn)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		then(conn.(*net.TCPConn))
	}
}

func write(t *testing.T, w io.Writer, s string) {
	if _, err := io.WriteString(w, s); err != nil {
		t.Error(err)
	}
}

// What breaks after a request was written leaves its fate unknown: the task may exist.
func TestBrokenAnswers(t *testing.T) {
	t.Parallel()
	const head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 200\r\n\r\n"
	tests := map[string]struct {
		handle http.HandlerFunc
		action kling.Action // of a create
		status int
	}{
		"reset": {hijack(t, func(conn *net.TCPConn) {
			if err := conn.SetLinger(0); err != nil {
				t.Error(err)
			}
		}), kling.ActionLookup, 0},
		"closed": {hijack(t, func(*net.TCPConn) {}), kling.ActionLookup, 0},
		"cut off in the head": {hijack(t, func(conn *net.TCPConn) {
			write(t, conn, head[:20])
		}), kling.ActionLookup, 0},
		"cut off in the body": {hijack(t, func(conn *net.TCPConn) {
			write(t, conn, head+`{"code":0,"data":{"task_id":"8710`)
		}), kling.ActionLookup, 200},
		"not HTTP": {hijack(t, func(conn *net.TCPConn) {
			write(t, conn, "SSH-2.0-OpenSSH_9.6\r\n")
		}), kling.ActionLookup, 0},
		"a refusal cut off": {hijack(t, func(conn *net.TCPConn) {
			write(t, conn, "HTTP/1.1 400 Bad Request\r\nContent-Length: 200\r\n\r\n"+`{"code":1301,`)
		}), kling.ActionRetry, 400},
		"too large": {func(w http.ResponseWriter, _ *http.Request) {
			block := []byte(strings.Repeat(" ", 1<<20))
			for range 17 {
				if _, err := w.Write(block); err != nil {
					return // the client has seen enough
				}
			}
		}, kling.ActionLookup, 200},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, test.handle)
			_, err := client.Create(t.Context(), kind(t, "text2video"), "", []byte(`{"prompt":"x"}`))
			if e := failure(t, err); e.Action != test.action || e.HTTPStatus != test.status || e.Err == nil {
				t.Errorf("create: got %s, HTTP %d: %v", e.Action, e.HTTPStatus, e)
			}
			_, err = client.QueryExternal(t.Context(), kind(t, "text2video"), "job-1")
			if e := failure(t, err); e.Action != kling.ActionRetry || e.NotFound {
				t.Errorf("query: got %s, not found %t: %v", e.Action, e.NotFound, e)
			}
		})
	}
}

func TestHanging(t *testing.T) {
	t.Parallel()
	for name, early := range map[string]string{"before the answer": "", "within the answer": `{"code":0,`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if early != "" {
					write(t, w, early)
					w.(http.Flusher).Flush()
				}
				<-r.Context().Done()
			}, func(o *kling.Options) { o.Timeout = 200 * time.Millisecond })
			_, err := client.Create(t.Context(), kind(t, "text2video"), "", []byte(`{}`))
			e := failure(t, err)
			if e.Action != kling.ActionLookup || !errors.Is(e, context.DeadlineExceeded) {
				t.Errorf("got %s: %v", e.Action, e)
			}
			if !strings.Contains(e.Error(), "no answer within 200ms") {
				t.Errorf("the error does not say which deadline: %v", e)
			}
		})
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	client := newClient(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		cancel()
		<-r.Context().Done()
	})
	_, err := client.Create(ctx, kind(t, "text2video"), "", []byte(`{}`))
	if e := failure(t, err); e.Action != kling.ActionLookup || !errors.Is(e, context.Canceled) {
		t.Errorf("after it was sent: got %s: %v", e.Action, e)
	}
	_, err = client.Create(ctx, kind(t, "text2video"), "", []byte(`{}`))
	if e := failure(t, err); e.Action != kling.ActionRetry || !errors.Is(e, context.Canceled) {
		t.Errorf("before it was sent: got %s: %v", e.Action, e)
	}
}

// What fails before a request was written has created nothing.
func TestNothingSent(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	untrusted := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a request came through")
	}))
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0) // where it would complain about the refused handshake
	untrusted.StartTLS()
	t.Cleanup(untrusted.Close)
	unresolved := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.DNSError{Err: "no such host", Name: "api.example", IsNotFound: true}
	}}
	silent := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	for name, o := range map[string]kling.Options{
		"connection refused": {BaseURL: gone.URL},
		"TLS refused":        {BaseURL: untrusted.URL},
		"host unknown":       {Transport: unresolved},
		"no connection":      {Transport: silent, Timeout: 50 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o.Credentials = kling.Credentials{APIKey: testKey}
			client, err := kling.NewClient(o)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(client.Close)
			_, err = client.Create(t.Context(), kind(t, "text2video"), "", []byte(`{}`))
			if e := failure(t, err); e.Action != kling.ActionRetry || e.Class != kling.ClassKling {
				t.Errorf("got %s, %s: %v", e.Action, e.Class, e)
			}
		})
	}
}

// A kept connection that died meanwhile is no reason to fear for a request that never left.
func TestNothingSentOnAReusedConnection(t *testing.T) {
	t.Parallel()
	refused := errors.New("connection refused")
	dials := 0
	var last *deadConn
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dials++; dials > 1 {
			return nil, refused
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		last = &deadConn{Conn: conn}
		return last, err
	}}
	client := newClient(t, respond(http.StatusOK, string(golden(t, "create_accepted"))),
		func(o *kling.Options) { o.Transport = transport })
	create := func() error {
		_, err := client.Create(t.Context(), kind(t, "text2video"), "", []byte(`{}`))
		return err
	}
	if err := create(); err != nil {
		t.Fatal(err)
	}
	last.dead = true
	if e := failure(t, create()); e.Action != kling.ActionRetry || !errors.Is(e, refused) {
		t.Errorf("got %s: %v", e.Action, e)
	}
}

// deadConn writes nothing once it is dead.
type deadConn struct {
	net.Conn
	dead bool
}

func (c *deadConn) Write(b []byte) (int, error) {
	if c.dead {
		return 0, errors.New("broken pipe")
	}
	return c.Conn.Write(b)
}

func TestRedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	calls := 0
	client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		calls++
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	_, err := client.Create(t.Context(), kind(t, "text2video"), "", []byte(`{}`))
	if e := failure(t, err); e.Action != kling.ActionPause || calls != 1 {
		t.Errorf("after %d calls got %s: %v", calls, e.Action, e)
	}
}

// roundTripper is a transport that reports nothing of what it does.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestOpaqueTransportIsNotTrusted(t *testing.T) {
	t.Parallel()
	client, err := kling.NewClient(kling.Options{
		Credentials: kling.Credentials{APIKey: testKey},
		Transport:   roundTripper(func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }),
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Create(t.Context(), kind(t, "text2video"), "", []byte(`{}`))
	if e := failure(t, err); e.Action != kling.ActionLookup || !errors.Is(e, io.ErrUnexpectedEOF) {
		t.Errorf("got %s: %v", e.Action, e)
	}
}

func TestDefaultTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, err := kling.NewClient(kling.Options{
			Credentials: kling.Credentials{APIKey: testKey},
			Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}),
		})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, err = client.Query(t.Context(), kind(t, "text2video"), "1")
		if e := failure(t, err); e.Action != kling.ActionRetry || time.Since(began) != time.Minute {
			t.Errorf("after %s got %s: %v", time.Since(began), e.Action, e)
		}
	})
}
