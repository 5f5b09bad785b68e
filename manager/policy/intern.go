package policy

import "encoding/binary"

// maxTables bounds each of the maps of tables of a Set.
const maxTables = 4096

// Table returns what src may connect to at dst. It is the same Table for the same
// outcome, so that a pointer tells whether anything changed for a pair. (Once in
// many thousand outcomes the Set forgets them: the pointer is another then, and
// Table.Equal tells.)
func (s *Set) Table(src, dst Domain) *Table { return s.Between(s.Match(src), s.Match(dst)) }

// Between is Table for domains whose facts are known. It allocates nothing if the
// rules that match have been asked about before.
func (s *Set) Between(src, dst Facts) *Table {
	if src.set != s || dst.set != s {
		return s.nothing
	}
	var room [words]uint64
	matching := bits(room[:len(src.source)])
	for i := range matching {
		matching[i] = src.source[i] & dst.destination[i]
		// Behind a rule for every port nothing matters.
		if ends := matching[i] & s.whole[i]; ends != 0 {
			matching[i] &= ends ^ (ends - 1)
			matching = matching[:i+1]
			break
		}
	}
	var keyRoom [words * 8]byte
	key := keyRoom[:0]
	for _, word := range matching {
		key = binary.LittleEndian.AppendUint64(key, word)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tables[string(key)]; t != nil {
		return t
	}
	return s.remember(string(key), matching)
}

// remember works out the table for the rules that match, and notes it. s.mu is
// held.
func (s *Set) remember(key string, matching bits) *Table {
	if max(len(s.tables), len(s.outcomes)) >= maxTables {
		clear(s.tables)
		clear(s.outcomes)
		s.outcomes[s.nothing.outcome()] = s.nothing
	}
	t := s.tabulate(matching)
	outcome := t.outcome()
	if same := s.outcomes[outcome]; same != nil {
		t = same
	}
	s.tables[key], s.outcomes[outcome] = t, t
	return t
}
