package bridge

import (
	"container/list"
	"sync"
)

// recordCache keeps the records of tasks that this replica has created, so that most callbacks cost no read. It only
// ever saves a read: everything in it is in the stream as well.
//
// Safe for concurrent use.
type recordCache struct {
	mu      sync.Mutex
	size    int
	byToken map[string]*list.Element
	order   *list.List // of cached, oldest first
}

type cached struct {
	token string
	rec   *record
}

// cacheSize bounds the memory of a cache: a record takes about 1 KB.
const cacheSize = 10_000

// newRecordCache keeps so many records.
func newRecordCache(size int) *recordCache {
	return &recordCache{size: size, byToken: map[string]*list.Element{}, order: list.New()}
}

// put keeps a record, in place of the oldest if there are too many.
func (c *recordCache) put(rec *record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	token := rec.token()
	c.drop(token)
	c.byToken[token] = c.order.PushBack(cached{token, rec})
	if c.order.Len() > c.size {
		c.drop(c.order.Front().Value.(cached).token)
	}
}

// get returns the record of a token; nil: it is not here.
func (c *recordCache) get(token string) *record {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byToken[token]; ok {
		return e.Value.(cached).rec
	}
	return nil
}

// remove forgets a record.
func (c *recordCache) remove(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(token)
}

func (c *recordCache) drop(token string) {
	if e, ok := c.byToken[token]; ok {
		c.order.Remove(e)
		delete(c.byToken, token)
	}
}
