package bus

import (
	"crypto/rand"
	"fmt"
	"os"
)

// roomWanted is what must be free in the data directory before a server whose store was full is started again, in bytes.
const roomWanted = 4 << 20

// RestartEmbedded starts the embedded server anew, if there is one and its data directory takes writes: once a write has
// failed, as on a full disk, the server's store refuses all others until then. Clients are disconnected and come back.
//
// restarted is false where there is nothing to restart or still no room. After an error no server runs any more.
func (b *Bus) RestartEmbedded() (restarted bool, err error) {
	if b.embedded == nil || tryWriting(b.embedded.dir) != nil {
		return false, nil
	}
	if err := b.embedded.restart(); err != nil {
		return false, fmt.Errorf("restart the embedded NATS server: %w", err)
	}
	return true, nil
}

// tryWriting writes a file and removes it again.
func tryWriting(dir string) error {
	f, err := os.CreateTemp(dir, "room-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, roomWanted)
	_, _ = rand.Read(block) // never fails; noise is not compressed by a file system
	if _, err := f.Write(block); err != nil {
		return err
	}
	return f.Sync()
}
