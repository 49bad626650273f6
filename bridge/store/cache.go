package store

import (
	"encoding/binary"
	"hash/maphash"
	"sync"

	"github.com/klingbridge/klingbridge/events"
)

// Cache keeps the records of tasks that this replica has created, so that most callbacks cost no read. It only
// ever saves a read: everything in it is in the stream as well.
//
// Records lie packed in chunks, in the order in which they were put there. The memory of a chunk is given back when no record
// in it is known any more. The chunks form a ring: when all are taken, the oldest one is, with all records in it. So nothing is
// kept in order or found room for, and there are no pointers for the garbage collector to follow.
//
// Safe for concurrent use.
type Cache struct {
	mu      sync.Mutex
	seed    maphash.Seed
	byToken map[uint64]position // by the token's hash
	chunks  []chunk
	filling int // the chunk that is being filled
	shared  names
	packed  []byte // of the last Put, used again
}

// chunk is some packed records, each after its length in two bytes.
type chunk struct {
	data  []byte
	known int // records that the cache would find
}

// position is where a record lies: the number of its chunk, and its place there in the lower half.
type position uint32

const (
	// CacheSize is how many records a replica keeps, in 25 MB with what finds them.
	CacheSize = 100_000
	// usualRecord is what a record takes, in bytes, with a request id, an external id, a trace and some metadata.
	usualRecord = 216
	chunkSize   = 16 << 10
	maxChunks   = 1 << 16
	lengthSize  = 2
)

// NewCache keeps so many usual records, or fewer large ones, and some millions at most.
func NewCache(size int) *Cache {
	chunks := size/(chunkSize/usualRecord) + 2 // one is being filled, and one is for the rest
	chunks = min(chunks, maxChunks)
	return &Cache{seed: maphash.MakeSeed(), byToken: map[uint64]position{}, chunks: make([]chunk, chunks)}
}

// Put keeps a record, in place of the oldest ones if there are too many. It does not keep one that is larger than a chunk, or that
// of a task which was made again.
func (c *Cache) Put(rec *Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	token := c.hash(rec.Token())
	c.drop(token)
	if !packable(rec) {
		return
	}
	c.packed = pack(c.packed[:0], rec, &c.shared)
	needed := lengthSize + len(c.packed)
	if needed > chunkSize {
		return
	}
	if len(c.chunks[c.filling].data)+needed > chunkSize {
		c.filling = (c.filling + 1) % len(c.chunks)
		c.empty(c.filling)
	}
	in := &c.chunks[c.filling]
	if in.data == nil {
		in.data = make([]byte, 0, chunkSize)
	}
	c.byToken[token] = position(c.filling<<16 | len(in.data))
	in.data = append(binary.LittleEndian.AppendUint16(in.data, uint16(len(c.packed))), c.packed...)
	in.known++
}

// Has reports whether the record of a token is here.
func (c *Cache) Has(token string) bool { return c.Get(token, &Record{}) }

// Get copies the record of a token into rec, in place of all that was there, and reports whether it is here.
func (c *Cache) Get(token string, rec *Record) bool {
	var few [2 * usualRecord]byte
	c.mu.Lock()
	at, ok := c.byToken[c.hash(token)]
	if !ok {
		c.mu.Unlock()
		return false
	}
	packed, shared := append(few[:0], c.at(at)...), c.shared.all
	c.mu.Unlock()
	unpack(packed, shared, rec)
	return rec.RequestID == token || rec.Token() == token // else it is another of the same hash
}

// Remove forgets a record.
func (c *Cache) Remove(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(c.hash(token))
}

func (c *Cache) hash(token string) uint64 { return maphash.String(c.seed, token) }

// at returns a record as it lies there.
func (c *Cache) at(at position) []byte {
	from := c.chunks[at>>16].data[at&0xffff:]
	return from[lengthSize : lengthSize+binary.LittleEndian.Uint16(from)]
}

func (c *Cache) drop(token uint64) {
	at, ok := c.byToken[token]
	if !ok {
		return
	}
	delete(c.byToken, token)
	in := &c.chunks[at>>16]
	in.known--
	switch {
	case in.known > 0:
	case in == &c.chunks[c.filling]:
		in.data = in.data[:0]
	default:
		in.data = nil
	}
}

// empty forgets all records of a chunk.
func (c *Cache) empty(number int) {
	data := c.chunks[number].data
	for i := 0; i < len(data); {
		at := position(number<<16 | i)
		packed := c.at(at)
		if token := c.hash(events.Token(packedID(packed))); c.byToken[token] == at {
			delete(c.byToken, token)
		}
		i += lengthSize + len(packed)
	}
	c.chunks[number] = chunk{}
}
