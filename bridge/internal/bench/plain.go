package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	plainCommand = "plain"
	plainStream  = "PLAIN"
	plainSubject = "plain."
)

// servePlain is a reference of what is about callbacks: a handler that publishes the body it gets, with a
// message id, and answers when JetStream has it. It checks nothing, keeps nothing, and repeats what is repeated after the
// stream's duplicate window.
func servePlain(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet(plainCommand, flag.ContinueOnError)
	url := flags.String("nats", "", "server")
	dir := flags.String("embed", "", "store of a server in this process, which syncs every write, instead")
	if err := flags.Parse(args); err != nil {
		return err
	}
	nc, stop, err := plainConnection(*url, *dir)
	if err != nil {
		return err
	}
	defer stop()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	stream := jetstream.StreamConfig{Name: plainStream, Subjects: []string{plainSubject + ">"}}
	if _, err := js.CreateStream(ctx, stream); err != nil {
		return err
	}
	return serveCallbacks(ctx, func(w http.ResponseWriter, r *http.Request) { publishPlain(w, r, js) })
}

// serveCallbacks serves callbacks until ctx ends, and prints where.
func serveCallbacks(ctx context.Context, handle http.HandlerFunc) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /callbacks/{kind}/{id}/{signature}", handle)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = srv.Close() })()
	fmt.Println(l.Addr())
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func publishPlain(w http.ResponseWriter, r *http.Request, js jetstream.JetStream) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	id := r.PathValue("id")
	if _, err := js.Publish(r.Context(), plainSubject+id, body, jetstream.WithMsgID(id)); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusOK)
}

// plainConnection connects to a server, or to one of its own as the program does.
func plainConnection(url, dir string) (nc *nats.Conn, stop func(), err error) {
	if dir == "" {
		nc, err = nats.Connect(url)
		if err != nil {
			return nil, nil, err
		}
		return nc, nc.Close, nil
	}
	srv, err := runServer(server.Options{StoreDir: dir, SyncAlways: true})
	if err != nil {
		return nil, nil, err
	}
	nc, err = nats.Connect("", nats.InProcessServer(srv))
	if err != nil {
		srv.Shutdown()
		return nil, nil, err
	}
	return nc, func() {
		nc.Close()
		srv.Shutdown()
		srv.WaitForShutdown()
	}, nil
}

// plain is such a process, or a floor.
type plain struct {
	*child
	addr  string
	posts int // made so far: no two are to have the same id
}

func (b *bench) startPlain(ctx context.Context, args ...string) (*plain, error) {
	c, addr, err := b.startSelf(ctx, plainCommand, args...)
	if err != nil {
		return nil, err
	}
	return &plain{child: c, addr: addr}, nil
}

// shots prepares n callbacks as the program would get them.
func (p *plain) shots(n int) []shot {
	shots := make([]shot, 0, n)
	for range n {
		p.posts++
		id := postID(p.posts)
		path := "/callbacks/" + kind + "/" + id + "/" + "0123456789012345678901234567890123456789012"
		shots = append(shots, newShot(p.addr, path, id, finished(task{id: fmt.Sprintf("%018d", p.posts), externalID: id})))
	}
	return shots
}
