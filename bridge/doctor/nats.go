package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/bus"
)

const (
	connectTimeout = 5 * time.Second // per server
	askTimeout     = 3 * time.Second // for the first answer to a question
	// quiet ends the gathering of answers from nobody knows how many. Where the first one took longer than a moment, so may
	// the others: it is then this many times that, if that is more.
	quiet, quietTimes = 300 * time.Millisecond, 4

	nearlyUsed     = 0.8      // of a limit
	fewPending     = 20_000   // unacked messages of a consumer, which is what the bridge asks for at most
	usefulPayload  = 64 << 10 // an event is 2 to 10 KB, more with many results
	defaultPayload = 1 << 20
)

// connect reaches NATS as a client does. A server that can't be used is left again: everything else would fail too.
func (e *examination) connect(ctx context.Context) []Finding {
	if _, port, _ := net.SplitHostPort(e.NATS.EmbeddedAddr); e.Embedded && (port == "0" || port == "-1") {
		return append(warning("the embedded server takes any free port, so it can't be found",
			"give BRIDGE_EMBEDDED_ADDR a port, or set NATS_URL to where it listens"), e.dataDir()...)
	}
	nc, err := bus.TryConnect(e.NATS, connectTimeout)
	if err != nil {
		return e.unreachable(err)
	}
	server := fmt.Sprintf("%s, server %s %s", e.NATSNamed, nc.ConnectedServerName(), nc.ConnectedServerVersion())
	if cluster := nc.ConnectedClusterName(); cluster != "" {
		server += " of cluster " + cluster
	}
	if e.Embedded && nc.ConnectedServerName() != bus.EmbeddedName {
		nc.Close()
		return fault(server+" is not the embedded server of a bridge",
			"set NATS_URL to use that server, or BRIDGE_EMBEDDED_ADDR to leave it alone")
	}
	if err := bus.CheckVersion(nc.ConnectedServerVersion()); err != nil {
		nc.Close()
		return fault(e.NATSNamed+": "+err.Error(), "upgrade the NATS server")
	}
	if e.bus, err = bus.New(nc, e.NATS); err != nil {
		nc.Close()
		return fault(err.Error(), "")
	}
	e.findBridges(ctx)
	if e.Embedded {
		server += ", embedded in a bridge that runs"
	}
	return ok("%s", server)
}

func (e *examination) unreachable(err error) []Finding {
	switch {
	case errors.Is(err, nats.ErrNoServers) && e.Embedded:
		return append(warning("no bridge runs an embedded server at "+e.NATSNamed,
			`start one with "klingbridge serve", or set NATS_URL`), e.dataDir()...)
	case errors.Is(err, nats.ErrNoServers):
		return fault("nothing answers at "+e.NATSNamed, "is the NATS server up, and is NATS_URL right?")
	case refusedLogin(err):
		return fault(fmt.Sprintf("%s refuses the credentials: %v", e.NATSNamed, err),
			"check NATS_CREDS, NATS_NKEY, NATS_USER and NATS_PASSWORD, or NATS_TOKEN")
	default:
		return fault(fmt.Sprintf("%s can't be used: %v", e.NATSNamed, err), "check NATS_URL, NATS_CA, NATS_CERT and NATS_KEY")
	}
}

func refusedLogin(err error) bool {
	for _, refusal := range []error{
		nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired, nats.ErrNkeysNotSupported,
	} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

// dataDir reports whether serve could keep its store. A directory that is not there yet has to be made in the nearest
// one that is; whether that can be written is tried with a file that goes again.
func (e *examination) dataDir() []Finding {
	dir, err := filepath.Abs(e.NATS.DataDir)
	for err == nil {
		var info os.FileInfo
		if info, err = os.Stat(dir); err == nil && !info.IsDir() {
			err = fmt.Errorf("%s is not a directory", dir)
		}
		if !errors.Is(err, os.ErrNotExist) || dir == filepath.Dir(dir) {
			break
		}
		dir, err = filepath.Dir(dir), nil
	}
	if err == nil {
		err = tryWrite(dir)
	}
	if err != nil {
		return fault("BRIDGE_DATA_DIR "+e.NATS.DataDir+" can't be written: "+err.Error(),
			"make it writable for the user of the bridge, or name another directory")
	}
	return ok("BRIDGE_DATA_DIR %s can be written", e.NATS.DataDir)
}

func tryWrite(dir string) error {
	file, err := os.CreateTemp(dir, ".klingbridge-doctor-*")
	if err != nil {
		return err
	}
	return errors.Join(file.Close(), os.Remove(file.Name()))
}

func (e *examination) jetStream(ctx context.Context) []Finding {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	account, err := e.bus.JetStream().AccountInfo(ctx)
	elsewhere := e.bus.API("") != jetstream.DefaultAPIPrefix
	switch {
	case elsewhere && errors.Is(err, jetstream.ErrJetStreamNotEnabled):
		return fault("no JetStream answers on "+e.bus.API(">"),
			"is the domain or API prefix right (NATS_JS_DOMAIN, NATS_JS_API_PREFIX or the context), and may this user publish there?")
	case errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fault("JetStream is not enabled for this account", "enable it for the account of the bridge's user")
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled):
		return fault("JetStream is not enabled", "start the NATS server with -js, or with jetstream {} in its configuration")
	case err != nil:
		return fault("JetStream does not answer: "+err.Error(),
			"may this user publish on $JS.API.>, and does the cluster have a leader?")
	}
	e.account = account
	e.Bridge = e.Bridge.ForAccount(account)
	domain := ""
	if account.Domain != "" {
		domain = "domain " + account.Domain + ": "
	}
	return ok("%s%d streams, %d consumers, %s stored", domain, account.Streams, account.Consumers, size(account.Store))
}

// limits tells of what the account does not allow that the bridge needs, and warns of what is nearly used.
func (e *examination) limits(ctx context.Context) []Finding {
	var findings []Finding
	for _, problem := range bridge.CheckAccount(ctx, e.bus, e.account, e.Bridge) {
		findings = append(findings, fault(problem, "raise the JetStream limits of the account: serve does not start")...)
	}
	if most := e.account.Limits.MaxAckPending; most > 0 && most < fewPending {
		findings = append(findings, note(fmt.Sprintf("%d messages of a consumer may be unacked (max_ack_pending)", most),
			"fewer requests and polls are in hand at once, over all replicas; nothing else changes")...)
	}
	return append(findings, e.used(len(findings) == 0)...)
}

// used warns of those of the account's limits that are nearly used. That there is nothing to warn of is told alone.
func (e *examination) used(alone bool) []Finding {
	tiers := e.account.Tiers
	if len(tiers) == 0 {
		tiers = map[string]jetstream.Tier{"": e.account.Tier}
	}
	var findings []Finding
	limited := false
	for _, name := range slices.Sorted(maps.Keys(tiers)) {
		t := tiers[name]
		for _, u := range []struct {
			what       string
			used, most int64
			show       func(uint64) string
		}{
			{"streams", int64(t.Streams), int64(t.Limits.MaxStreams), number},
			{"consumers", int64(t.Consumers), int64(t.Limits.MaxConsumers), number},
			{"storage", int64(t.Store), t.Limits.MaxStore, size},
			{"memory", int64(t.Memory), t.Limits.MaxMemory, size},
		} {
			if u.most <= 0 {
				continue
			}
			limited = true
			if float64(u.used) >= nearlyUsed*float64(u.most) {
				findings = append(findings, warning(
					strings.TrimSpace(fmt.Sprintf("%s %s: %s of %s are used", name, u.what, u.show(uint64(u.used)), u.show(uint64(u.most)))),
					"raise the JetStream limit of the account: a full one refuses requests and completions")...)
			}
		}
	}
	switch {
	case len(findings) > 0 || !alone:
		return findings
	case limited:
		return ok("none of the account's limits is nearly used")
	default:
		return ok("the account has no limits")
	}
}

func (e *examination) maxPayload(context.Context) []Finding {
	most := e.bus.MaxPayload()
	shown := size(uint64(most))
	if most < usefulPayload {
		return warning(shown+": larger requests are refused, and completions leave out Kling's own object",
			"raise max_payload of the NATS server; its default is "+size(defaultPayload))
	}
	return ok("%s; larger inputs go by nats-object://", shown)
}

// syncInterval says whether an acknowledged write is on the disk. Only the system account is told; an account may import
// the question.
func (e *examination) syncInterval(ctx context.Context) []Finding {
	if e.Embedded {
		return ok("the embedded server syncs every acknowledged write to disk")
	}
	var late []string
	seen := 0
	err := e.gather(ctx, "$SYS.REQ.SERVER.PING.JSZ", func(reply *nats.Msg) {
		var info struct {
			Server struct {
				Name string `json:"name"`
			} `json:"server"`
			Data *struct {
				Config struct {
					SyncAlways bool `json:"sync_always"`
				} `json:"config"`
			} `json:"data"`
		}
		if json.Unmarshal(reply.Data, &info) != nil || info.Data == nil {
			return
		}
		seen++
		if !info.Data.Config.SyncAlways {
			late = append(late, info.Server.Name)
		}
	})
	switch {
	case err != nil || seen == 0:
		return note("whether the servers sync every write can't be seen by this user",
			"look for sync_interval: always in the jetstream block of their configuration")
	case len(late) > 0:
		slices.Sort(late)
		return warning("sync_interval is not always on "+strings.Join(late, ", ")+": a power cut can lose acknowledged writes",
			"set sync_interval: always in the jetstream block, or spread replicas over power supplies")
	default:
		return ok("%d servers sync every acknowledged write to disk", seen)
	}
}

// gather asks a question that any number of servers or services answer.
func (e *examination) gather(ctx context.Context, subject string, each func(*nats.Msg)) error {
	nc := e.bus.Conn()
	inbox := nc.NewRespInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only with the connection
	asked := time.Now()
	if err := nc.PublishRequest(subject, inbox, nil); err != nil {
		return err
	}
	first, err := next(ctx, sub, askTimeout)
	if err != nil {
		return err
	}
	each(first)
	wait := max(quiet, quietTimes*time.Since(asked))
	for {
		reply, err := next(ctx, sub, wait)
		switch {
		case err == nil:
			each(reply)
		case errors.Is(err, context.DeadlineExceeded):
			return nil
		default:
			return err
		}
	}
}

func next(ctx context.Context, sub *nats.Subscription, wait time.Duration) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return sub.NextMsgWithContext(ctx)
}

func number(n uint64) string { return fmt.Sprint(n) }

// size writes bytes in the unit that keeps the number short.
func size(n uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	value := float64(n)
	for len(units) > 1 && value >= 1024 {
		value, units = value/1024, units[1:]
	}
	return fmt.Sprintf("%.4g %s", value, units[0])
}
