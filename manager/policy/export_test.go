package policy

// Interned returns how many tables a Set keeps, of the map that has more.
func Interned(s *Set) int { return max(len(s.tables), len(s.outcomes)) }

// Gauges returns how many accounts a Meter remembers.
func Gauges(m *Meter) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.gauges)
}
