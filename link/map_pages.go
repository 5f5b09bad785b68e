package link

import (
	"errors"
	"fmt"
	"reflect"
	"time"

	"xvsock/grant"
	"xvsock/ring"
)

// mapped is the other side's pages in our address space, read-only. All of it is
// foreign memory: it may change at any time, and after a restore of this domain a load
// from it faults. The stake holds the mappings and gives them back.
type mapped struct {
	header, ring []byte
	spans        [2]span // of both

	// For probe, which the receive side alone calls: in map mode nothing else copies.
	pages *peerPages
	state [1]byte
	copy  [1]ring.Segment
	next  *time.Timer // asks for the next probe
}

// span is a range of addresses, from first up to, without it, end.
type span struct{ first, end uintptr }

// spanOf is where b lies. It is for mapped memory, which Go never moves.
func spanOf(b []byte) span {
	first := reflect.ValueOf(b).Pointer()
	return span{first, first + uintptr(len(b))}
}

// newMapped is what two mappings show.
func newMapped(header, data []byte, pages *peerPages) *mapped {
	m := &mapped{header: header, ring: data, spans: [...]span{spanOf(header), spanOf(data)}, pages: pages}
	m.copy[0] = ring.Segment{Area: ring.AreaHeader, Offset: ring.StateOffset, Local: m.state[:]}
	return m
}

// mapped maps the header page and the ring that pages names, or holds nothing new.
func (s *stake) mapped(pages *peerPages) (*mapped, error) {
	header, err := s.dom.Grants.Map(s.peer, []grant.Ref{pages.header})
	if err != nil {
		return nil, fmt.Errorf("map header page: %w", err)
	}
	data, err := s.dom.Grants.Map(s.peer, grantRefs(pages.rx))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("map ring: %w", err), header.Unmap())
	}
	s.mappings = append(s.mappings, header, data)
	return newMapped(header.Bytes(), data.Bytes(), pages), nil
}

// contains reports whether an address lies in what is mapped.
func (m *mapped) contains(address uintptr) bool {
	for _, s := range m.spans {
		if s.first <= address && address < s.end {
			return true
		}
	}
	return false
}

// watch asks for a probe a second after the last one, whatever else happens on the link: a
// pump that others wake all the time never sleeps so long. Look makes it.
func (l *Link) watch() {
	if l.theirs != nil {
		l.theirs.next = time.AfterFunc(probeTime, func() { l.quiet.Store(true) })
	}
}

// probe asks the hypervisor whether the other domain is there, by a copy of its state
// byte. Loads cannot tell: Xen keeps the pages of a domain that was destroyed for as
// long as somebody maps them, and no kernel of that domain clears the byte. It returns
// nil where nothing is mapped, since each Fetch is a copy then.
func (l *Link) probe() error {
	m := l.theirs
	if m == nil {
		return nil
	}
	m.next.Reset(probeTime)
	m.state[0] = 0 // a copy that did nothing shows a peer that is gone (rule R17)
	if err := m.pages.Copy(m.copy[:]); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	if m.state[0] == 0 {
		return ring.ErrGone
	}
	return nil
}
