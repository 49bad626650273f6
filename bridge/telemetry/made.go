package telemetry

import "sync"

// made keeps what was made for each key: making it costs more than finding it.
//
// Safe for concurrent use.
type made[K comparable, V any] struct {
	first func(K) *V

	mu  sync.RWMutex
	all map[K]*V
}

func newMade[K comparable, V any](first func(K) *V) *made[K, V] {
	return &made[K, V]{first: first, all: map[K]*V{}}
}

// of returns what belongs to a key. It is made once.
func (m *made[K, V]) of(key K) *V {
	m.mu.RLock()
	v := m.all[key]
	m.mu.RUnlock()
	if v != nil {
		return v
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all[key] == nil {
		m.all[key] = m.first(key)
	}
	return m.all[key]
}

// each shows all that was made to f, which must not ask for more.
func (m *made[K, V]) each(f func(*V)) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, v := range m.all {
		f(v)
	}
}
