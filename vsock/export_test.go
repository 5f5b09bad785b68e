package vsock

// NextPort makes port the next ephemeral port that s tries.
func (s *Stack) NextPort(port uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastPort = port - 1
}

// Memory returns the bytes of receive memory that s has promised, in all.
func (s *Stack) Memory() int64 { return s.budget.Used() }
