package access

// Cached returns how many sessions are kept open.
func (s *Sessions) Cached() int { return len(s.known.young) + len(s.known.old) }

// Forget empties the cache.
func (s *Sessions) Forget() { s.known.young, s.known.old = nil, nil }

// Bound bounds the cache to twice n sessions.
func (s *Sessions) Bound(n int) { s.known.most = n }
