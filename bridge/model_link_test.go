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
	serving  sync.WaitGroup

	mu       sync.Mutex     // guards what follows
	hangUp   func()         // ends the connection that stands
	isDown   bool           // whoever connects is refused
	breakAt  *regexp.Regexp // what the replica writes when the connection breaks
	left     int            // such writes until then; zero: it does not
	onBreak  func()
	breaking bool // with the next answer
}

// write matches what changes a stream: events and records, dead letters, deletions, and acks that want an answer.
var write = regexp.MustCompile(`PUB (\S+-put\.|\S+\.dead\.|\$JS\.API\.STREAM\.MSG\.DELETE\.|\$JS\.ACK\.\S+ _INBOX)`)

func newLink(t *testing.T, server string) *link {
	t.Helper()
	l := &link{server: server, listener: listenLocal(t), hangUp: func() {}}
	l.serving.Go(l.serve)
	return l
}

func (l *link) url() string { return "nats://" + l.listener.Addr().String() }

// serve carries one connection after the other: a replica has one at a time.
func (l *link) serve() {
	for {
		replica, err := l.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", l.server)
		if err != nil {
			_ = replica.Close()
			continue
		}
		l.carry(replica.(*net.TCPConn), server.(*net.TCPConn))
	}
}

func (l *link) carry(replica, server *net.TCPConn) {
	hangUp := func() { // what is on its way is lost
		for _, c := range []*net.TCPConn{replica, server} {
			_ = c.SetLinger(0)
			_ = c.Close()
		}
	}
	l.mu.Lock()
	l.hangUp, l.breaking = hangUp, false
	if l.isDown {
		hangUp()
	}
	l.mu.Unlock()
	var writing sync.WaitGroup
	writing.Go(func() {
		defer hangUp()
		copyChunks(server, replica, l.sees)
	})
	copyChunks(replica, server, l.answers)
	hangUp()
	writing.Wait()
}

// copyChunks copies what passes until a connection ends or something does not.
func copyChunks(to, from net.Conn, pass func([]byte) bool) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil || !pass(buf[:n]) {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// breakAtWrite breaks the connection after the server got the n-th write from now and before its answer arrives, and
// calls then from a goroutine of the link. With n zero nothing breaks.
func (l *link) breakAtWrite(n int, then func()) { l.breakAtNth(write, n, then) }

// breakAtNth is breakAtWrite for anything the replica says.
func (l *link) breakAtNth(what *regexp.Regexp, n int, then func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.breakAt, l.left, l.onBreak, l.breaking = what, n, then, false
}

// hiddenMsgID stands for the header of a message's id on its way; it is as long.
const hiddenMsgID = "Kept-Msg-Id"

// sees looks at what the replica writes.
func (l *link) sees(data []byte) bool {
	for rest := data; ; {
		_, after, found := bytes.Cut(rest, []byte(jetstream.MsgIDHeader+":"))
		if !found {
			break
		}
		copy(data[len(data)-len(after)-len(hiddenMsgID)-1:], hiddenMsgID)
		rest = after
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left > 0 {
		l.left = max(l.left-len(l.breakAt.FindAll(data, -1)), 0)
		l.breaking = l.left == 0
	}
	return true
}

// answers reports whether an answer may reach the replica.
func (l *link) answers([]byte) bool {
	l.mu.Lock()
	breaking, then := l.breaking, l.onBreak
	l.mu.Unlock()
	if breaking {
		then()
	}
	return !breaking
}

// setDown ends the connection and lets no other stand, or lets one stand again.
func (l *link) setDown(down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isDown = down
	if down {
		l.hangUp()
	}
}

// stands reports whether connections are let through.
func (l *link) stands() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.isDown
}

// cut ends the link for good.
func (l *link) cut() {
	_ = l.listener.Close()
	l.setDown(true)
}

// close cuts the link and waits for its goroutines.
func (l *link) close() {
	l.cut()
	l.serving.Wait()
}
