package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/clock/clocktest"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
	"github.com/klingbridge/klingbridge/events/body"
)

const natsConfig = "../../deployments/nats/"

// realm is a NATS server with the accounts of deployments/nats and a bridge on it. A user's password is its name.
type realm struct {
	t       *testing.T
	url     string
	environ map[string]string // of the bridge
	bridge  *terminal
}

// newRealm changes accounts.conf first.
func newRealm(t *testing.T, change ...func(config string) string) *realm {
	t.Helper()
	r := openRealm(t, bustest.Start(t, deployedAccounts(t, change...)).URL(), nil)
	r.addCopy("apps-admin", "mirror-apps.json", 1)
	r.addCopy("readers-admin", "mirror-readers.json", 1)
	return r
}

// openRealm runs a bridge on servers that have the accounts, with further variables.
func openRealm(t *testing.T, url string, environ map[string]string) *realm {
	t.Helper()
	r := &realm{t: t, url: url, environ: freePorts(t)}
	maps.Copy(r.environ, map[string]string{
		"NATS_URL": r.url, "NATS_USER": "bridge", "NATS_PASSWORD": "bridge", "KLING_API_KEY": "good",
		"KLING_BASE_URL":    klingtest.Start(t, klingtest.Options{APIKeys: []string{"good"}, Duration: 1}).URL,
		"BRIDGE_PUBLIC_URL": "http://" + r.environ["BRIDGE_CALLBACK_ADDR"],
	})
	maps.Copy(r.environ, environ)
	r.bridge = open(t, r.environ, "serve")
	return r
}

var logins = regexp.MustCompile(`user: (\S+), password: \$(\w+)`)

// deployedAccounts gives a server the accounts of server.conf.
func deployedAccounts(t *testing.T, change ...func(config string) string) func(*server.Options) {
	t.Helper()
	parsed := deployed(t, "server.conf", nil, change...)
	return func(o *server.Options) {
		o.Accounts, o.Users, o.SystemAccount = parsed.Accounts, parsed.Users, parsed.SystemAccount
	}
}

// deployed reads a configuration of deployments/nats. Its variables come from the environment, which tests share: here the
// values stand in the files.
func deployed(t *testing.T, main string, values map[string]string, change ...func(config string) string) *server.Options {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"server.conf", "accounts.conf", "cluster.conf"} {
		raw, err := os.ReadFile(natsConfig + name)
		if err != nil {
			t.Fatal(err)
		}
		config := logins.ReplaceAllString(string(raw), "user: $1, password: $1")
		config = strings.ReplaceAll(config, "$NATS_SERVER_NAME", "single")
		for variable, value := range values {
			config = strings.ReplaceAll(config, "$"+variable, strconv.Quote(value))
		}
		for _, f := range change {
			config = f(config)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := server.ProcessConfigFile(filepath.Join(dir, main))
	if err != nil {
		t.Fatal(err)
	}
	if !parsed.SyncAlways {
		t.Errorf("%s does not sync every write", main)
	}
	return parsed
}

func (r *realm) connect(user string) *nats.Conn {
	r.t.Helper()
	quiet := nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}) // tests ask for LastError
	nc, err := nats.Connect(r.url, nats.UserInfo(user, user), quiet)
	if err != nil {
		r.t.Fatalf("connect as %s: %v", user, err)
	}
	r.t.Cleanup(nc.Close)
	return nc
}

func (r *realm) jetStream(user string) jetstream.JetStream {
	r.t.Helper()
	js, err := jetstream.New(r.connect(user))
	if err != nil {
		r.t.Fatal(err)
	}
	return js
}

func (r *realm) addCopy(user, file string, replicas int) {
	r.t.Helper()
	raw, err := os.ReadFile(natsConfig + file)
	if err != nil {
		r.t.Fatal(err)
	}
	var config jetstream.StreamConfig
	if err := json.Unmarshal(raw, &config); err != nil {
		r.t.Fatalf("%s: %v", file, err)
	}
	config.Replicas = replicas
	stream, err := r.jetStream(user).CreateStream(r.t.Context(), config)
	if err != nil {
		r.t.Fatalf("%s: %v", file, err)
	}
	// A server that stops while a copy is being set up leaves a goroutine behind.
	eventually(r.t, file+" follows", func() bool {
		info, err := stream.Info(r.t.Context())
		return err == nil && len(info.Sources) == 1 && info.Sources[0].Active >= 0
	})
}

// eventually polls a condition that has no signal of its own.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	if !clocktest.Within(patience, holds) {
		t.Fatalf("waited in vain until %s", what)
	}
}

func (r *realm) client(user string) *events.Client {
	r.t.Helper()
	client, err := events.NewClient(r.connect(user), events.Subjects{})
	if err != nil {
		r.t.Fatal(err)
	}
	return client
}

// complete has the requester submit a request and await its completion.
func (r *realm) complete(id string) {
	r.t.Helper()
	completion, err := r.client("requester").Do(r.t.Context(), body.Text2Video{Prompt: "a lighthouse"}, events.Options{ID: id})
	if err != nil || completion.Status != events.StatusSucceed {
		r.t.Fatalf("request %s ended as %q, %v", id, completion.Status, err)
	}
}

// subjects of a stream in the bridge's account that match filter.
func (r *realm) subjects(stream, filter string) map[string]uint64 {
	r.t.Helper()
	s, err := r.jetStream("admin").Stream(r.t.Context(), stream)
	if err != nil {
		r.t.Fatal(err)
	}
	info, err := s.Info(r.t.Context(), jetstream.WithSubjectFilter(filter))
	if err != nil {
		r.t.Fatal(err)
	}
	return info.State.Subjects
}

func TestAccountsLetEachDoItsJob(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	reader := r.connect("subscriber")
	seen, err := reader.SubscribeSync("kling.completion.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.Flush(); err != nil {
		t.Fatal(err)
	}

	requester := maps.Clone(r.environ)
	requester["NATS_USER"], requester["NATS_PASSWORD"] = "requester", "requester"
	got := execute(t.Context(), requester, "", "submit", "text2video", "--prompt", "x", "--id", "one", "--wait", "--json")
	if got.code != 0 {
		t.Fatalf("submit: exit %d: %s", got.code, got.stderr)
	}

	if got := execute(t.Context(), requester, "", "call", "presets-voices"); got.code != 0 {
		t.Errorf("call: exit %d: %s", got.code, got.stderr)
	}

	if msg, err := seen.NextMsgWithContext(t.Context()); err != nil || !strings.HasSuffix(msg.Subject, ".one") {
		t.Errorf("plain subscriber: %v, %v", msg, err)
	}
	consumer, err := r.jetStream("subscriber").CreateConsumer(t.Context(), "KLING_EVENTS", jetstream.ConsumerConfig{
		Durable: "billing", FilterSubject: "kling.completion.>", AckPolicy: jetstream.AckExplicitPolicy,
	})
	if err != nil {
		t.Fatal(err)
	}
	msg, err := consumer.Next(jetstream.FetchMaxWait(patience))
	if err != nil {
		t.Fatal(err)
	}
	if err := msg.DoubleAck(t.Context()); err != nil {
		t.Errorf("ack: %v", err)
	}
	if leaked := r.copied("kling-state.>"); len(leaked) > 0 {
		t.Errorf("the copy has %v", leaked)
	}
}

// copied are the subjects that match filter in the copy of the readers.
func (r *realm) copied(filter string) map[string]uint64 {
	r.t.Helper()
	s, err := r.jetStream("readers-admin").Stream(r.t.Context(), "KLING_EVENTS")
	if err != nil {
		r.t.Fatal(err)
	}
	info, err := s.Info(r.t.Context(), jetstream.WithSubjectFilter(filter))
	if err != nil {
		r.t.Fatal(err)
	}
	return info.State.Subjects
}

func TestAccountsSatisfyDoctor(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	got := execute(t.Context(), r.environ, "", "doctor", "--json")
	var d diagnosis
	if err := json.Unmarshal([]byte(got.stdout), &d); err != nil {
		t.Fatalf("%v: %s", err, got.stderr)
	}
	if d.Faults > 0 {
		t.Errorf("doctor: %s", got.stdout)
	}
	if _, ok := d.find("sync", "is not always on single"); !ok { // the test's server runs without server.conf
		t.Errorf("doctor does not see how the server syncs: %s", got.stdout)
	}
}

// TestAccountsLetOperatorsAsk asks a stand-in that has nothing but the bridge's permissions.
func TestAccountsLetOperatorsAsk(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	standin := r.connect("bridge")
	service, err := micro.AddService(standin, micro.Config{Name: "standin", Version: "1.0.0"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = service.Stop() }() // the connection is closed next
	subject := events.Subjects{}.API("test")
	echo := micro.HandlerFunc(func(req micro.Request) { _ = req.Respond(req.Data()) })
	if err := service.AddEndpoint("test", echo, micro.WithEndpointSubject(subject)); err != nil {
		t.Fatal(err)
	}
	if err := standin.Flush(); err != nil { // subscribed before anybody asks
		t.Fatal(err)
	}
	operator := r.connect("operator")
	for _, question := range []string{subject, "$SRV.PING.standin"} {
		answer, err := operator.RequestWithContext(t.Context(), question, []byte("hello"))
		if err != nil {
			t.Errorf("%s: %v", question, err)
		} else if question == subject && string(answer.Data) != "hello" {
			t.Errorf("%s: %s", question, answer.Data)
		}
	}
}
