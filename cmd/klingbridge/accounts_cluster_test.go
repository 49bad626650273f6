package main

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/events"
	"github.com/klingbridge/klingbridge/events/body"
)

// deployedCluster gives a server of a cluster the accounts and the routes of cluster.conf.
func deployedCluster(t *testing.T) func(*server.Options) {
	return func(o *server.Options) {
		values := map[string]string{}
		for i, route := range o.Routes {
			values[fmt.Sprintf("NATS_ROUTE_%d", i)] = "nats://route:route@" + route.Host
		}
		parsed := deployed(t, "cluster.conf", values)
		o.Accounts, o.Users, o.SystemAccount = parsed.Accounts, parsed.Users, parsed.SystemAccount
		o.Cluster.Username, o.Cluster.Password, o.Routes = parsed.Cluster.Username, parsed.Cluster.Password, parsed.Routes
		o.NoAuthUser = "admin" // the test's own way to see whether there is a leader
	}
}

// TestClusterOfAccounts has hundreds of requests end in a cluster, each with records that come and go between its events,
// and reads their completions where readers do. For some of them the server is away that leads the readers' stream.
func TestClusterOfAccounts(t *testing.T) {
	t.Parallel()
	const n = 240
	cluster := bustest.StartCluster(t, deployedCluster(t))
	r := openRealm(t, cluster.URL(), map[string]string{
		"BRIDGE_STREAM_REPLICAS": "3", "BRIDGE_POLL_AFTER": "2s", "BRIDGE_POLL_MIN_INTERVAL": "1s",
	})
	submit := r.submitter()
	submit(0, n/4)
	r.addCopy("readers-admin", "mirror-readers.json", 3)
	consumer, err := r.jetStream("subscriber").CreateConsumer(t.Context(), "KLING_EVENTS", jetstream.ConsumerConfig{
		Durable: "billing", FilterSubject: "kling.completion.>", AckPolicy: jetstream.AckExplicitPolicy, AckWait: 2 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	submit(n/4, n/3)
	leader := r.leader(cluster)
	leader.Stop()
	submit(n/3, n/2)
	leader.Restart()
	submit(n/2, n)

	// A new leader of the readers' stream may wait half a minute for an answer of a server that has gone.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	seen := map[string]bool{}
	for len(seen) < n && ctx.Err() == nil {
		msg, err := consumer.Next(jetstream.FetchMaxWait(time.Second))
		if err == nil && msg.DoubleAck(ctx) == nil { // else it is not there yet, or comes again
			seen[msg.Subject()] = true
		}
	}
	if len(seen) < n {
		t.Errorf("readers saw %d completions, want %d; the bridge stored %d",
			len(seen), n, len(r.subjects("KLING_EVENTS", "kling.completion.>")))
	}
	if code := r.bridge.stop(); code != 0 {
		t.Errorf("the bridge exited with %d", code)
	}
	r.stopFollowers(cluster)
}

// submitter returns a function that submits requests with the numbers from a to before b.
func (r *realm) submitter() func(a, b int) {
	r.t.Helper()
	requester := r.client("requester")
	return func(a, b int) {
		r.t.Helper()
		for i := a; i < b; i++ {
			options := events.Options{ID: fmt.Sprintf("order-%d", i)}
			eventually(r.t, "a request is stored", func() bool {
				_, err := requester.Submit(r.t.Context(), body.Text2Video{Prompt: "a lighthouse"}, options)
				return err == nil
			})
		}
	}
}

// stopFollowers leaves the readers' stream without anybody to lead it next: a server that stops while it sets out to do
// so leaves a goroutine behind.
func (r *realm) stopFollowers(cluster *bustest.Cluster) {
	r.t.Helper()
	leader := r.leader(cluster)
	for _, s := range cluster.Servers {
		if s != leader {
			s.Stop()
		}
	}
}

// leader is the server that leads the stream of the readers.
func (r *realm) leader(cluster *bustest.Cluster) *bustest.Server {
	r.t.Helper()
	stream, err := r.jetStream("readers-admin").Stream(r.t.Context(), "KLING_EVENTS")
	if err != nil {
		r.t.Fatal(err)
	}
	name := stream.CachedInfo().Cluster.Leader
	at := slices.IndexFunc(cluster.Servers, func(s *bustest.Server) bool { return s.Name() == name })
	if at < 0 {
		r.t.Fatalf("the stream of the readers is led by %q", name)
	}
	return cluster.Servers[at]
}
