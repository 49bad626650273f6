package request

import (
	"hash/maphash"
	"slices"
)

// requestIndex finds the messages of waiting requests by token. It keeps hashes, about 60 bytes a message, and may name
// messages that are gone or of another token: whoever finds one looks at it.
type requestIndex struct {
	seed  maphash.Seed
	seqs  map[uint64][]uint64 // by hash of the token
	order []indexed           // by sequence
}

type indexed struct{ seq, hash uint64 }

func (x *requestIndex) add(token string, seq uint64) {
	if x.seqs == nil {
		x.seed, x.seqs = maphash.MakeSeed(), map[uint64][]uint64{}
	}
	hash := maphash.String(x.seed, token)
	x.seqs[hash] = append(x.seqs[hash], seq)
	x.order = append(x.order, indexed{seq, hash})
}

// find returns the sequences that may be of a token, in order.
func (x *requestIndex) find(token string) []uint64 {
	if x.seqs == nil {
		return nil
	}
	return slices.Clone(x.seqs[maphash.String(x.seed, token)])
}

// forget drops everything before a sequence.
func (x *requestIndex) forget(before uint64) {
	n := 0
	for ; n < len(x.order) && x.order[n].seq < before; n++ {
		hash := x.order[n].hash
		left := slices.DeleteFunc(x.seqs[hash], func(seq uint64) bool { return seq < before })
		if len(left) == 0 {
			delete(x.seqs, hash)
			continue
		}
		x.seqs[hash] = left
	}
	x.order = slices.Delete(x.order, 0, n)
}
