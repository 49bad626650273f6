package store

import (
	"container/list"
	"sync"
)

// Cache keeps the records of tasks that this replica has created, so that most callbacks cost no read. It only
// ever saves a read: everything in it is in the stream as well.
//
// Safe for concurrent use.
type Cache struct {
	mu      sync.Mutex
	size    int
	byToken map[string]*list.Element
	order   *list.List // of cached, oldest first
}

type cached struct {
	token string
	rec   *Record
}

// CacheSize bounds the memory of a cache: a record takes about 1 KB.
const CacheSize = 10_000

// NewCache keeps so many records.
func NewCache(size int) *Cache {
	return &Cache{size: size, byToken: map[string]*list.Element{}, order: list.New()}
}

// Put keeps a record, in place of the oldest if there are too many.
func (c *Cache) Put(rec *Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	token := rec.Token()
	c.drop(token)
	c.byToken[token] = c.order.PushBack(cached{token, rec})
	if c.order.Len() > c.size {
		c.drop(c.order.Front().Value.(cached).token)
	}
}

// Get returns the record of a token; nil: it is not here.
func (c *Cache) Get(token string) *Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byToken[token]; ok {
		return e.Value.(cached).rec
	}
	return nil
}

// Remove forgets a record.
func (c *Cache) Remove(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(token)
}

func (c *Cache) drop(token string) {
	if e, ok := c.byToken[token]; ok {
		c.order.Remove(e)
		delete(c.byToken, token)
	}
}
