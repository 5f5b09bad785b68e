package conformance

import (
	"testing"
	"time"

	"xvsock/grant"
	"xvsock/xen"
)

const (
	// patience is how long a case waits for an event that must come, quiet how
	// long for one that must not.
	patience = 5 * time.Second
	quiet    = 150 * time.Millisecond
)

// tester is an End whose requests must succeed.
type tester struct {
	t *testing.T
	End
}

func ends(t *testing.T, p Pair) (near, far tester) {
	return tester{t, p.Near}, tester{t, p.Far}
}

// must carries out a request that has to succeed.
func (s tester) must(q Request) Reply {
	s.t.Helper()
	r := s.Do(q)
	if r.Error != nil {
		s.t.Fatalf("%s in domain %d: %s", q.Op, s.ID(), r.Error.Text)
	}
	return r
}

// mustFail carries out a request that has to fail.
func (s tester) mustFail(q Request) *Error {
	s.t.Helper()
	r := s.Do(q)
	if r.Error == nil {
		s.t.Fatalf("%s in domain %d succeeded, and must not", q.Op, s.ID())
	}
	return r.Error
}

// shared is pages that an end granted.
type shared struct {
	tester
	handle int
	refs   []grant.Ref
}

func (s tester) share(to xen.DomID, n int, access grant.Access) shared {
	s.t.Helper()
	r := s.must(Request{Op: Share, Domain: to, N: n, Access: access})
	if len(r.Refs) != n {
		s.t.Fatalf("share of %d pages gave %d references", n, len(r.Refs))
	}
	return shared{s, r.Handle, r.Refs}
}

func (p shared) store(offset int, data string) {
	p.t.Helper()
	p.must(Request{Op: Store, Handle: p.handle, Offset: offset, Data: []byte(data)})
}

func (p shared) load(offset, n int) string {
	p.t.Helper()
	return string(p.must(Request{Op: Load, Handle: p.handle, Offset: offset, N: n}).Data)
}

func (p shared) revoke() {
	p.t.Helper()
	p.must(Request{Op: Revoke, Handle: p.handle})
}

// reading and writing are segments of a copy from or to page k of p.
func (p shared) reading(k, offset, n int) grant.Segment {
	return grant.Segment{Local: make([]byte, n), Domain: p.ID(), Ref: p.refs[k], Offset: offset}
}

func (p shared) writing(k, offset int, data string) grant.Segment {
	return grant.Segment{Local: []byte(data), Domain: p.ID(), Ref: p.refs[k], Offset: offset, Write: true}
}

// copy makes a copy that has to succeed and returns its first segment's bytes.
func (s tester) copy(segs ...grant.Segment) string {
	s.t.Helper()
	r := s.must(Request{Op: Copy, Segments: segs})
	for i, seg := range r.Segments {
		if seg.Status != grant.StatusOkay {
			s.t.Fatalf("copy returned no error, but segment %d has status %v", i, seg.Status)
		}
	}
	return string(r.Segments[0].Local)
}

// copyStatus makes a copy of one segment that has to fail with the given status.
func (s tester) copyStatus(want grant.Status, seg grant.Segment) {
	s.t.Helper()
	r := s.Do(Request{Op: Copy, Segments: []grant.Segment{seg}})
	switch {
	case r.Error == nil:
		s.t.Fatalf("copy succeeded, want status %v", want)
	case r.Error.Status != want || r.Segments[0].Status != want:
		s.t.Fatalf("copy: %s, segment has %v; want %v", r.Error.Text, r.Segments[0].Status, want)
	}
}

func (s tester) mapPages(p shared, refs ...grant.Ref) shared {
	s.t.Helper()
	r := s.must(Request{Op: Map, Domain: p.ID(), Refs: refs})
	return shared{s, r.Handle, refs}
}

// channel is an end's event channel.
type channel struct {
	tester
	port xen.Port
}

func (s tester) unbound(remote xen.DomID) channel {
	s.t.Helper()
	return channel{s, s.must(Request{Op: Unbound, Domain: remote}).Port}
}

func (s tester) interdomain(remote xen.DomID, port xen.Port) channel {
	s.t.Helper()
	return channel{s, s.must(Request{Op: Interdomain, Domain: remote, Port: port}).Port}
}

// connect makes a channel between the two ends, with no event pending anywhere.
func connect(near, far tester) (a, b channel) {
	near.t.Helper()
	a = near.unbound(far.ID())
	b = far.interdomain(near.ID(), a.port)
	b.wantEvent()
	b.do(Unmask)
	return a, b
}

func (c channel) do(op Op) {
	c.t.Helper()
	c.must(Request{Op: op, Port: c.port})
}

func (c channel) wantEvent() {
	c.t.Helper()
	if c.must(Request{Op: Wait, Port: c.port, Patience: patience}).N == 0 {
		c.t.Fatalf("no event on port %d of domain %d", c.port, c.ID())
	}
}

func (c channel) wantQuiet() {
	c.t.Helper()
	if c.must(Request{Op: Wait, Port: c.port, Patience: quiet}).N != 0 {
		c.t.Fatalf("an event on port %d of domain %d, and there must be none", c.port, c.ID())
	}
}
