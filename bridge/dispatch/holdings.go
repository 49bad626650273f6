package dispatch

import (
	"hash/maphash"
	"math"
	"time"

	"github.com/klingbridge/klingbridge/bridge/request"
)

// holdings is what each request takes, by token. There may be a hundred thousand tasks in flight, so that those are packed: 16
// bytes each, without a pointer, found by the hash of their token. Two tokens of one hash would count as one task; of a million
// tasks in flight any two have one in one of 30 million cases.
type holdings struct {
	reserved map[string]usage // for create calls under way
	tasks    map[uint64]packedUsage
	seed     maphash.Seed
	models   modelNumbers
}

// packedUsage is a [usage] that is held.
type packedUsage struct {
	at    int64 // Unix time in nanoseconds
	model uint16
	slots uint8
	flags uint8
}

// The flags of a packedUsage.
const (
	flagForeign uint8 = 1 << iota
	flagUnsure
	flagHearsay
	flagFinal
	flagSeen
)

func newHoldings() holdings {
	return holdings{
		reserved: map[string]usage{}, tasks: map[uint64]packedUsage{}, seed: maphash.MakeSeed(),
		models: modelNumbers{numbers: map[string]uint16{}},
	}
}

func (h *holdings) hash(token string) uint64 { return maphash.String(h.seed, token) }

// get returns what a request takes.
func (h *holdings) get(token string) (u usage, known bool) {
	if u, known = h.reserved[token]; known {
		return u, true
	}
	packed, known := h.tasks[h.hash(token)]
	if !known {
		return usage{}, false
	}
	return h.unpack(packed), true
}

// set notes what a request takes, in place of what it took before, and returns it as it will be found.
func (h *holdings) set(token string, u usage) usage {
	if !u.held {
		delete(h.tasks, h.hash(token))
		h.reserved[token] = u
		return u
	}
	delete(h.reserved, token)
	packed := h.pack(u)
	h.tasks[h.hash(token)] = packed
	return h.unpack(packed)
}

func (h *holdings) remove(token string) {
	delete(h.reserved, token)
	delete(h.tasks, h.hash(token))
}

func (h *holdings) pack(u usage) packedUsage {
	flags := flagIf(u.foreign, flagForeign) | flagIf(u.unsure, flagUnsure) | flagIf(u.hearsay, flagHearsay) |
		flagIf(u.final, flagFinal) | flagIf(u.seen, flagSeen)
	return packedUsage{at: u.at.UnixNano(), model: h.models.number(u.Model), slots: uint8(min(u.N, math.MaxUint8)), flags: flags}
}

func flagIf(set bool, flag uint8) uint8 {
	if set {
		return flag
	}
	return 0
}

func (h *holdings) unpack(p packedUsage) usage {
	return usage{
		Need: request.Need{N: int(p.slots), Model: h.models.names[p.model]}, held: true, at: time.Unix(0, p.at),
		foreign: p.flags&flagForeign != 0, unsure: p.flags&flagUnsure != 0, hearsay: p.flags&flagHearsay != 0,
		final: p.flags&flagFinal != 0, seen: p.flags&flagSeen != 0,
	}
}

// modelNumbers numbers the models that tasks have.
type modelNumbers struct {
	numbers map[string]uint16
	names   []string
	free    []uint16
}

// number returns the number of a model. Where there are too many, which nobody has, it is that of unknownModel.
func (m *modelNumbers) number(name string) uint16 {
	if n, known := m.numbers[name]; known {
		return n
	}
	if last := len(m.free) - 1; last >= 0 {
		n := m.free[last]
		m.free = m.free[:last]
		m.numbers[name], m.names[n] = n, name
		return n
	}
	if len(m.names) == math.MaxUint16 {
		return m.number(unknownModel)
	}
	if len(m.names) == 0 && name != unknownModel {
		m.number(unknownModel)
	}
	m.names = append(m.names, name)
	m.numbers[name] = uint16(len(m.names) - 1)
	return m.numbers[name]
}

// forget lets the number of a model that no task has stand for another.
func (m *modelNumbers) forget(name string) {
	if n, known := m.numbers[name]; known && name != unknownModel {
		delete(m.numbers, name)
		m.names[n], m.free = "", append(m.free, n)
	}
}
