package dispatch

// Measure returns the slots in use, the learned limit or unknownLimit, and the configured bound or 0.
func (s *Slots) Measure() (used, limit, bound int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reserved + s.held, s.limit, s.bound
}

// MeasureModel returns the slots of a model in use, and those that it is known to have by itself or unknownLimit. Where the
// pool may be what is full, that is not known.
func (s *Slots) MeasureModel(model string) (used, own int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.models[model]
	if m == nil {
		return 0, UnknownLimit
	}
	return m.reserved + m.held, m.limit
}

// limits returns the learned limits of the pool and of a model in it, or unknownLimit.
func (s *Slots) limits(model string) (pool, own int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	own, _ = s.ownLimit(model)
	return s.limit, own
}
