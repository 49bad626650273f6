package store

import (
	"fmt"
	"math/rand"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/klingbridge/klingbridge/bridge/telemetry"
	"github.com/klingbridge/klingbridge/events"
)

// samePacked packs a record and reads it again.
func samePacked(t *testing.T, rec *Record) {
	t.Helper()
	if !packable(rec) {
		rec.Tries, rec.Failure = nil, nil
	}
	var shared names
	for range 2 { // names are new only once
		packed := pack([]byte("before"), rec, &shared)
		got := &Record{}
		fill(reflect.ValueOf(got).Elem(), rand.New(rand.NewSource(1))) // is to be replaced
		unpack(packed[len("before"):], shared.all, got)
		if diff := cmp.Diff(rec, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("the record has changed (-put +got):\n%s", diff)
		}
	}
}

// TestEveryFieldIsPacked finds a field that was added to a record and is not packed.
func TestEveryFieldIsPacked(t *testing.T) {
	t.Parallel()
	chance := rand.New(rand.NewSource(1))
	for i := range 300 {
		rec := &Record{}
		fill(reflect.ValueOf(rec).Elem(), chance)
		if i%2 == 0 {
			rec.Trace.Traceparent = hotRecord().Trace.Traceparent
		}
		samePacked(t, rec)
	}
	samePacked(t, &Record{})
	samePacked(t, hotRecord())
}

func FuzzPackedRecord(f *testing.F) {
	for _, trace := range []string{
		"", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
		"00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01", "\x01",
		"00-00000000000000000000000000000000-0000000000000000-00",
	} {
		f.Add(trace, "order-42\x00", int64(1775000000), int64(123456789), uint64(1<<63))
		f.Add(trace, "", int64(-62135596800), int64(0), uint64(0))
		f.Add(trace, "\xff", int64(-1<<63), int64(1<<63-1), uint64(1))
	}
	f.Fuzz(func(t *testing.T, trace, text string, seconds, nanos int64, n uint64) {
		at := time.Unix(seconds, nanos)
		samePacked(t, &Record{
			RequestID: text, Kind: text, Trace: telemetry.Trace{Traceparent: trace, Baggage: text}, RequestedAt: at, Deadline: at.Add(time.Duration(n)),
			SubmittedAt: time.Unix(nanos, 0), Owner: n, Queued: uint64(seconds), Attempt: int(n), Upload: time.Duration(nanos), Unknown: []byte(text),
			Metadata: map[string]string{text: trace, trace: text},
		})
	})
}

// cachedRecord is as large as most.
func cachedRecord(i int) *Record {
	rec := hotRecord()
	rec.RequestID = fmt.Sprintf("0198f3c2-7b1e-7d4a-9c55-%012d", i)
	rec.ExternalTaskID = fmt.Sprintf("0298f3c2-7b1e-7d4a-9c55-%012d", i)
	rec.TaskID = fmt.Sprintf("871%015d", i)
	rec.Owner, rec.Account, rec.Model = uint64(i), "default", "kling-v3"
	rec.Trace.Traceparent = fmt.Sprintf("00-4bf92f3577b34da6a3ce%012x-00f067aa0ba902b7-00", i)
	rec.ClaimedAt = rec.ClaimedAt.Add(time.Duration(i) * 12345678)
	rec.SubmittedAt = rec.ClaimedAt.Add(234567890)
	return rec
}

// TestCacheForgetsTheOldest puts more into a cache than it has room for.
func TestCacheForgetsTheOldest(t *testing.T) {
	t.Parallel()
	const size = 1000
	c := NewCache(size)
	for i := range 3 * size {
		c.Put(cachedRecord(i))
		if i%7 == 0 {
			c.Put(cachedRecord(i)) // takes the place of itself
		}
	}
	known := 0
	for i := range 3 * size {
		want := cachedRecord(i)
		got := c.get(want.Token())
		switch {
		case got == nil && known > 0:
			t.Fatalf("record %d is not there, but an older one is", i)
		case got == nil:
			continue
		}
		known++
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	}
	if known < size*7/8 || known != len(c.byToken) {
		t.Errorf("%d records are there, want about %d; %d are indexed", known, size, len(c.byToken))
	}
	for i := range 3 * size {
		c.Remove(cachedRecord(i).Token())
	}
	for i, chunk := range c.chunks {
		if chunk.known != 0 || len(chunk.data) > 0 || cap(chunk.data) > 0 && i != c.filling {
			t.Errorf("chunk %d still holds %d bytes, of %d records", i, cap(chunk.data), chunk.known)
		}
	}
}

// TestCacheKeepsItsSize has all records there that a cache is made for.
func TestCacheKeepsItsSize(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 75, 76, 1000} {
		c := NewCache(size)
		for i := range 5 * size {
			c.Put(cachedRecord(i))
		}
		for i := 4 * size; i < 5*size; i++ {
			if c.get(cachedRecord(i).Token()) == nil {
				t.Fatalf("of %d records number %d is not there", size, i-4*size)
			}
		}
	}
}

func TestCacheTellsTokensOfOneHashApart(t *testing.T) {
	t.Parallel()
	c := NewCache(10)
	a, b := cachedRecord(1), cachedRecord(2)
	c.Put(a)
	c.byToken[c.hash(b.Token())] = c.byToken[c.hash(a.Token())]
	if got := c.get(b.Token()); got != nil {
		t.Errorf("got the record of %s", got.RequestID)
	}
}

func TestCacheKeepsNoRecordOfATaskMadeAgain(t *testing.T) {
	t.Parallel()
	c := NewCache(10)
	rec := cachedRecord(1)
	c.Put(rec)
	c.Put(rec.Failed(failedTask(rec), events.SourcePoll, rec.SubmittedAt, rec.Deadline, "fence"))
	if c.Has(rec.Token()) {
		t.Error("it is there")
	}
}

func TestCacheKeepsNoLargeRecord(t *testing.T) {
	t.Parallel()
	c := NewCache(10)
	rec := cachedRecord(1)
	c.Put(rec)
	for _, length := range []int{chunkSize - 400, chunkSize} {
		rec.Metadata = map[string]string{"Large": strings.Repeat("x", length)}
		c.Put(rec)
		got := c.get(rec.Token())
		if length < chunkSize && cmp.Diff(rec, got) != "" || length == chunkSize && got != nil {
			t.Errorf("of a record with %d bytes got %+v", length, got)
		}
	}
}

// TestCacheGivesCopies changes what it has got.
func TestCacheGivesCopies(t *testing.T) {
	t.Parallel()
	c, rec := NewCache(10), cachedRecord(1)
	c.Put(rec)
	got := c.get(rec.Token())
	got.On("other")
	got.Metadata["Tenant"] = "other"
	if diff := cmp.Diff(rec, c.get(rec.Token())); diff != "" {
		t.Error(diff)
	}
}

// TestCacheWhileOthersUseIt finds nothing but what was put there, whoever else puts and removes.
func TestCacheWhileOthersUseIt(t *testing.T) {
	t.Parallel()
	c := NewCache(200)
	var users sync.WaitGroup
	for user := range 4 {
		users.Go(func() {
			chance := rand.New(rand.NewSource(int64(user)))
			for range 5000 {
				rec := cachedRecord(chance.Intn(400))
				switch chance.Intn(3) {
				case 0:
					c.Put(rec)
				case 1:
					c.Remove(rec.Token())
				default:
					if got := c.get(rec.Token()); got != nil && cmp.Diff(rec, got) != "" {
						t.Errorf("got %+v, want %+v", got, rec)
					}
				}
			}
		})
	}
	users.Wait()
}

// get returns the record of a token; nil: it is not here.
func (c *Cache) get(token string) *Record {
	rec := &Record{}
	if !c.Get(token, rec) {
		return nil
	}
	return rec
}

func BenchmarkCache(b *testing.B) {
	const some = 10_000
	c := NewCache(some)
	var records []*Record
	for i := range some {
		records = append(records, cachedRecord(i))
		c.Put(records[i])
	}
	i := 0
	next := func() *Record { i++; return records[i%some] }
	b.Run("get", func(b *testing.B) {
		rec := &Record{}
		b.ReportAllocs()
		for b.Loop() {
			if !c.Get(next().RequestID, rec) {
				b.Fatal("it is not there")
			}
		}
	})
	b.Run("put", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.Put(next())
		}
	})
}
