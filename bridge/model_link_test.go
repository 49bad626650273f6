package bridge_test

import (
	"bytes"
	"net"
	"regexp"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// link is the network between one replica and the NATS server. It can be cut at any moment, and in the middle of a write
// of the replica's: the server has it, the replica never hears so. It hides message ids from the server, as if the
// window in which it knows them again had always passed: no promise may rest on that.
type link struct {
	server   string
	listener net.Listener
	copying  sync.WaitGroup

	mu      sync.Mutex
	pairs   map[*pair]struct{}
	down    bool // nobody connects any more
	writes  int  // until the link breaks; zero: it does not
	onBreak func()
}

// pair is one connection through a link.
type pair struct {
	replica, server *net.TCPConn
	onAnswer        func() // not nil: the next answer breaks it and this is called; guarded by the link's mutex
}

// write matches what changes a stream: events and records, dead letters, deletions, and acks that want an answer.
var write = regexp.MustCompile(`PUB (\S+-put\.|\S+\.dead\.|\$JS\.API\.STREAM\.MSG\.DELETE\.|\$JS\.ACK\.\S+ _INBOX)`)

func newLink(t *testing.T, server string) *link {
	t.Helper()
	l := &link{server: server, listener: listenLocal(t), pairs: map[*pair]struct{}{}}
	l.copying.Go(l.accept)
	return l
}

func (l *link) url() string { return "nats://" + l.listener.Addr().String() }

func (l *link) accept() {
	for {
		conn, err := l.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", l.server)
		if err != nil {
			_ = conn.Close()
			continue
		}
		p := &pair{replica: conn.(*net.TCPConn), server: server.(*net.TCPConn)}
		if !l.add(p) {
			p.hangUp()
			return
		}
		l.copying.Go(func() { l.copyWrites(p) })
		l.copying.Go(func() { l.copyAnswers(p) })
	}
}

func (l *link) add(p *pair) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.down {
		l.pairs[p] = struct{}{}
	}
	return !l.down
}

// breakAtWrite breaks the connection after the server got the n-th write from now and before its answer arrives, and
// calls then from a goroutine of the link. With n zero nothing breaks.
func (l *link) breakAtWrite(n int, then func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writes, l.onBreak = n, then
}

func (l *link) copyWrites(p *pair) {
	defer l.drop(p)
	buf := make([]byte, 64<<10)
	for {
		n, err := p.replica.Read(buf)
		if err != nil {
			return
		}
		l.countWrites(p, buf[:n])
		hideMsgIDs(buf[:n])
		if _, err := p.server.Write(buf[:n]); err != nil {
			return
		}
	}
}

// hiddenMsgID stands for a message's id on its way; it is as long.
const hiddenMsgID = "Kept-Msg-Id"

func hideMsgIDs(data []byte) {
	for {
		i := bytes.Index(data, []byte(jetstream.MsgIDHeader+":"))
		if i < 0 {
			return
		}
		data = data[i+copy(data[i:], hiddenMsgID):]
	}
}

func (l *link) countWrites(p *pair, data []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.writes == 0 {
		return
	}
	l.writes = max(l.writes-len(write.FindAll(data, -1)), 0)
	if l.writes == 0 {
		p.onAnswer = l.onBreak
	}
}

func (l *link) copyAnswers(p *pair) {
	defer l.drop(p)
	buf := make([]byte, 64<<10)
	for {
		n, err := p.server.Read(buf)
		if err != nil {
			return
		}
		if broken := l.brokenBy(p); broken != nil {
			broken()
			return
		}
		if _, err := p.replica.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (l *link) brokenBy(p *pair) func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	return p.onAnswer
}

func (l *link) drop(p *pair) {
	l.mu.Lock()
	delete(l.pairs, p)
	l.mu.Unlock()
	p.hangUp()
}

// hangUp loses what is still on its way.
func (p *pair) hangUp() {
	for _, c := range []*net.TCPConn{p.replica, p.server} {
		_ = c.SetLinger(0)
		_ = c.Close()
	}
}

// cut ends the link for good.
func (l *link) cut() {
	l.mu.Lock()
	l.down = true
	for p := range l.pairs {
		p.hangUp()
	}
	l.mu.Unlock()
	_ = l.listener.Close()
}

// close cuts the link and waits for its goroutines.
func (l *link) close() {
	l.cut()
	l.copying.Wait()
}
