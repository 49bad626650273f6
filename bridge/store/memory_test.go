//go:build !race

package store

import (
	"runtime"
	"testing"
)

// heldBy returns how much memory is held after a collection.
func heldBy() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestCacheNeedsLittleMemory fills a cache.
func TestCacheNeedsLittleMemory(t *testing.T) {
	const most = 250 // bytes of a record
	before := heldBy()
	c := NewCache(CacheSize)
	for i := range CacheSize {
		c.Put(cachedRecord(i))
	}
	each := (heldBy() - before) / CacheSize
	t.Logf("%d bytes of each record", each)
	if each > most {
		t.Errorf("a record takes %d bytes, want at most %d", each, most)
	}
	for i := range CacheSize {
		if !c.Has(cachedRecord(i).Token()) {
			t.Fatalf("record %d is not there", i)
		}
	}
}
