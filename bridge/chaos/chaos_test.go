package chaos_test

import (
	"flag"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	_ "github.com/klingbridge/klingbridge/bridge" // part of the program: a result is not to be reused for another one
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	_ "github.com/klingbridge/klingbridge/config" // as above
)

var (
	requests     = flag.Int("chaos.requests", 120, "requests on one NATS server; a third of them in the cluster")
	kills        = flag.Int("chaos.kills", len(points()), "kills on one NATS server; a third of them in the cluster")
	replicas     = flag.Int("chaos.replicas", 3, "replicas of the bridge in the cluster")
	outage       = flag.Duration("chaos.outage", 3*time.Second, "how long NATS is away")
	burst        = flag.Int("chaos.burst", 100, "tasks that end at once on the embedded server")
	burstKills   = flag.Int("chaos.burst-kills", 3, "kills in the middle of such a burst")
	attack       = flag.Duration("chaos.attack", 3*time.Second, "how long the program is attacked")
	idle         = flag.Int("chaos.idle", 200, "connections at a time that say nothing more to the callback listener")
	slow         = flag.Int("chaos.slow", 100, "connections at a time that never finish what they say to it")
	stops        = flag.Int("chaos.stops", 1, "times that a replica stands still in the middle of its sends")
	still        = flag.Duration("chaos.still", 7*time.Second, "how long it does")
	fileSize     = flag.Int("chaos.file", 40, "size of a file that goes by URL, in MiB")
	archived     = flag.Int("chaos.archived", 100, "results to archive")
	archiveKills = flag.Int("chaos.archive-kills", 4, "kills in the middle of archiving a file")
	older        = flag.String("chaos.older", "", "program of an earlier version to upgrade from; empty: this one")
	seed         = flag.Uint64("chaos.seed", 0, "of everything thrown by dice; 0: a random one, printed with the result")
)

const (
	// patience is how long the test waits for the next thing that must happen.
	patience = 2 * time.Minute
	// tick is how long things happen between two looks at what has no signal of its own.
	tick = 20 * time.Millisecond
	// longestPause is how long a killed process stays away at most.
	longestPause = 300 * time.Millisecond
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestPromises holds the program to what it promises first: exactly one completion and at most one task per request,
// no 2xx for news that is not stored, and each file of a result in the archive, once and whole.
func TestPromises(t *testing.T) {
	binary, guarded := build(t), buildGuarded(t)
	t.Run("siege", func(t *testing.T) { // by itself, for it takes all that the machine has
		w := newWorld(t, setup{binary: binary, replicas: 1, byHand: true})
		w.besiege(*idle, *slow, *attack)
		w.settle()
		w.audit()
	})
	t.Run("kills", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, setup{binary: guarded, natsURL: bustest.Start(t).URL(), replicas: 1, recorded: true})
		w.killAtEveryPoint(*requests, *kills)
		w.settle()
		w.echo()
		w.audit()
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		cluster := bustest.StartCluster(t)
		w := newWorld(t, setup{
			binary: guarded, natsURL: cluster.URL(), replicas: *replicas, streamReplicas: 3, recorded: true, byModel: true,
		})
		w.killLeadersToo(cluster, *requests/3, *kills/3)
		w.settle()
		w.echo()
		w.audit()
	})
	t.Run("accounts", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, setup{
			binary: guarded, natsURL: bustest.Start(t).URL(), replicas: 2, accounts: []string{"main", "burst", "last"},
		})
		w.killOnAccounts(*requests/5, *kills/4)
		w.settle()
		w.echo()
		w.audit()
	})
	t.Run("outage", func(t *testing.T) {
		t.Parallel()
		server := bustest.Start(t)
		w := newWorld(t, setup{binary: guarded, natsURL: server.URL(), replicas: 1, byHand: true})
		w.takeNATSAway(server, *outage)
		w.settle()
		w.audit()
	})
	t.Run("stops", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, setup{
			binary: guarded, natsURL: bustest.Start(t).URL(), replicas: 2, byHand: true, reuses: true,
		})
		w.stopInUploads(*burst/4, *stops, *still)
		w.settle()
		w.audit()
	})
	t.Run("store set back", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, setup{binary: guarded, replicas: 1, byHand: true, slots: max(*burst/20, 1), reuses: true})
		w.setBack(max(*burst/20, 1))
		w.settle()
		w.audit()
	})
	t.Run("bursts", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, setup{binary: guarded, replicas: 1, byHand: true})
		w.killInBursts(*burst, *burstKills)
		w.settle()
		w.echo()
		w.audit()
	})
	t.Run("attack", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, setup{binary: binary, replicas: 1, byHand: true})
		w.attack(*attack)
		w.settle()
		w.audit()
	})
	t.Run("attachment", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, setup{binary: binary, natsURL: bustest.Start(t).URL(), replicas: 1, byHand: true, bodies: true})
		w.attach(12 << 20)
	})
	t.Run("file by URL", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, setup{binary: binary, natsURL: bustest.Start(t).URL(), replicas: 1, byHand: true, bodies: true})
		w.byURL(*fileSize << 20)
	})
	t.Run("archive", func(t *testing.T) {
		t.Parallel()
		dir := filepath.Join(t.TempDir(), "results")
		files := newFiles(t)
		w := newWorld(t, setup{
			binary: guarded, natsURL: bustest.Start(t).URL(), replicas: 1, byHand: true,
			archive: "file://" + filepath.ToSlash(dir), files: files.URL,
		})
		files.serve(w.sim)
		w.killWhileArchiving(files, *archived, *archiveKills)
		w.auditArchive(files, dir)
		w.settle()
		w.audit()
	})
}

// build makes the program as "make build" does, with further flags.
func build(t *testing.T, flags ...string) string {
	t.Helper()
	return goBuild(t, "0", flags...)
}

// buildGuarded makes the program with the race detector in it, which ends it at the first race. It is not for stories that
// look at memory.
func buildGuarded(t *testing.T) string {
	t.Helper()
	return goBuild(t, "1", "-race")
}

func goBuild(t *testing.T, cgo string, flags ...string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "klingbridge")
	args := append(append([]string{"build", "-trimpath", "-ldflags=-s -w", "-o", binary}, flags...), "./cmd/klingbridge")
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	return binary
}

// newSeed is the one of the flag, or a random one.
func newSeed() uint64 {
	if *seed != 0 {
		return *seed
	}
	return rand.Uint64()
}

// killAtEveryPoint makes requests in as many batches as there are kills. During each batch the process is killed at the
// next point and comes back soon after.
func (w *world) killAtEveryPoint(requests, kills int) {
	for i := range kills {
		w.killAt(points()[i%len(points())], share(requests, kills, i))
	}
}

// share is the size of the i-th of so many parts of a total.
func share(total, parts, i int) int { return total*(i+1)/parts - total*i/parts }

// killLeadersToo also stops, after every second kill, the server that leads the stream of events.
func (w *world) killLeadersToo(cluster *bustest.Cluster, requests, kills int) {
	rounds := kills + kills/2
	killed := 0
	for i := range rounds {
		n := share(requests, rounds, i)
		if i%3 == 2 {
			w.stopLeader(cluster, n)
			continue
		}
		w.killAt(points()[killed%len(points())], n)
		killed++
	}
}

// killAt makes a batch of requests and kills a replica at a point that one of them comes to.
func (w *world) killAt(p point, batch int) {
	w.t.Helper()
	victim := w.replicas[w.rng.IntN(len(w.replicas))]
	if p == pointAnytime {
		w.ask(batch, p.needs())
		w.pause(2 * time.Second)
		victim.kill()
	} else {
		sprung := w.trap.set(p, 1+w.rng.IntN(p.often()), victim.kill)
		w.ask(batch, p.needs())
		w.awaitTrap(p, sprung)
	}
	w.killed[p]++
	w.pause(longestPause)
	victim.start()
	victim.waitReady()
}

// awaitTrap makes another request now and then: while there is no leader a moment may pass unseen.
func (w *world) awaitTrap(p point, sprung <-chan struct{}) {
	w.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	more := time.NewTicker(patience / 4)
	defer more.Stop()
	for {
		select {
		case <-sprung:
			return
		case <-more.C:
			w.ask(1, p.needs())
		case <-deadline.C:
			w.fatalf("nothing came to the point %q within %s", p, patience)
		}
	}
}

// stopLeader stops the leader of the events stream in the middle of a batch and starts it again.
func (w *world) stopLeader(cluster *bustest.Cluster, batch int) {
	w.t.Helper()
	w.eventually("all servers have caught up", w.caughtUp)
	leader := cluster.Leader(w.ctx, w.t, w.subjects.EventsStream())
	w.ask(batch/2, "")
	leader.Stop()
	w.leadersStopped++
	w.ask(batch-batch/2, "")
	w.pause(2 * time.Second)
	leader.Restart()
}

// caughtUp reports whether the events stream has a leader and no follower that lags behind.
func (w *world) caughtUp() bool {
	stream, err := w.js.Stream(w.ctx, w.subjects.EventsStream())
	if err != nil {
		return false
	}
	info := stream.CachedInfo().Cluster
	if info == nil || info.Leader == "" {
		return false
	}
	for _, r := range info.Replicas {
		if !r.Current || r.Offline {
			return false
		}
	}
	return true
}
