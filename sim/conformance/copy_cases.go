package conformance

import (
	"strings"
	"testing"

	"xvsock/grant"
	"xvsock/xen"
)

func copyCases() []Case {
	return []Case{
		{"granted pages are zeroed", zeroed},
		{"a copy reads what the owner wrote, in both directions", roundTrip},
		{"a copy writes into a writable page", writeWritable},
		{"a copy cannot write into a read-only page", writeReadOnly},
		{"a copy of a revoked page is a general error", copyRevoked},
		{"a copy of a page granted to another domain is a general error", copyStranger},
		{"a reference beyond the table is a bad reference", copyBadRef},
		{"an unknown domain is a bad domain", copyBadDomain},
		{"a failing segment leaves the others as they are", copyOneFails},
		{"forty segments go in one copy", copyForty},
		{"the segments of a copy run in order", copyInOrder},
		{"a segment beyond the page is refused", copyBeyondPage},
		{"granting more pages than there can be is ErrNoGrants", noGrants},
	}
}

func zeroed(t *testing.T, p Pair) {
	near, far := ends(t, p)
	pages := far.share(near.ID(), 2, grant.ReadOnly)
	for k := range 2 {
		if got := near.copy(pages.reading(k, 0, xen.PageSize)); strings.Trim(got, "\x00") != "" {
			t.Fatalf("page %d is not zeroed", k)
		}
	}
}

func roundTrip(t *testing.T, p Pair) {
	near, far := ends(t, p)
	for _, from := range []struct{ owner, reader tester }{{near, far}, {far, near}} {
		pages := from.owner.share(from.reader.ID(), 3, grant.ReadOnly)
		pages.store(2*xen.PageSize+4000, "across the border")
		if got := from.reader.copy(pages.reading(2, 4000, 17)); got != "across the border" {
			t.Fatalf("read %q", got)
		}
	}
}

func writeWritable(t *testing.T, p Pair) {
	near, far := ends(t, p)
	pages := far.share(near.ID(), 2, grant.Writable)
	near.copy(pages.writing(1, 100, "written from outside"))
	if got := pages.load(xen.PageSize+99, 22); got != "\x00written from outside\x00" {
		t.Fatalf("the owner sees %q", got)
	}
}

func writeReadOnly(t *testing.T, p Pair) {
	near, far := ends(t, p)
	pages := far.share(near.ID(), 1, grant.ReadOnly)
	pages.store(0, "mine")
	near.copyStatus(grant.StatusGeneralError, pages.writing(0, 0, "evil"))
	if got := pages.load(0, 4); got != "mine" {
		t.Fatalf("the owner sees %q", got)
	}
}

func copyRevoked(t *testing.T, p Pair) {
	near, far := ends(t, p)
	pages := far.share(near.ID(), 1, grant.ReadOnly)
	near.copy(pages.reading(0, 0, 8))
	pages.revoke()
	near.copyStatus(grant.StatusGeneralError, pages.reading(0, 0, 8))
	pages.revoke() // a second call does nothing
}

func copyStranger(t *testing.T, p Pair) {
	near, far := ends(t, p)
	pages := far.share(p.Stranger, 1, grant.Writable)
	near.copyStatus(grant.StatusGeneralError, pages.reading(0, 0, 8))
	near.copyStatus(grant.StatusGeneralError, pages.writing(0, 0, "evil"))
}

func copyBadRef(t *testing.T, p Pair) {
	near, far := ends(t, p)
	near.copyStatus(grant.StatusBadRef, grant.Segment{Local: make([]byte, 8), Domain: far.ID(), Ref: 0xFFFF_FFFF})
}

func copyBadDomain(t *testing.T, p Pair) {
	near, _ := ends(t, p)
	near.copyStatus(grant.StatusBadDomain, grant.Segment{Local: make([]byte, 8), Domain: p.Stranger, Ref: 8})
}

func copyOneFails(t *testing.T, p Pair) {
	near, far := ends(t, p)
	pages := far.share(near.ID(), 1, grant.ReadOnly)
	pages.store(0, "good")
	for bad := range 20 {
		segs := make([]grant.Segment, 20)
		for i := range segs {
			segs[i] = pages.reading(0, 0, 4)
		}
		segs[bad].Ref = 0xFFFF_FFFF
		r := near.Do(Request{Op: Copy, Segments: segs})
		if r.Error == nil || r.Error.Status != grant.StatusBadRef {
			t.Fatalf("segment %d is bad: error %+v", bad, r.Error)
		}
		for i, seg := range r.Segments {
			if i == bad && seg.Status != grant.StatusBadRef {
				t.Errorf("the bad segment %d has status %v", i, seg.Status)
			}
			if i != bad && (seg.Status != grant.StatusOkay || string(seg.Local) != "good") {
				t.Errorf("segment %d beside the bad %d has status %v and read %q", i, bad, seg.Status, seg.Local)
			}
		}
	}
}

func copyForty(t *testing.T, p Pair) {
	near, far := ends(t, p)
	pages := far.share(near.ID(), 40, grant.ReadOnly)
	segs := make([]grant.Segment, 40)
	for i := range segs {
		pages.store(i*xen.PageSize, string(rune('A'+i)))
		segs[i] = pages.reading(i, 0, 1)
	}
	r := near.must(Request{Op: Copy, Segments: segs})
	for i, seg := range r.Segments {
		if string(seg.Local) != string(rune('A'+i)) {
			t.Errorf("segment %d read %q", i, seg.Local)
		}
	}
}

func copyInOrder(t *testing.T, p Pair) {
	near, far := ends(t, p)
	pages := far.share(near.ID(), 1, grant.Writable)
	var segs []grant.Segment
	for i := range 20 {
		segs = append(segs, pages.writing(0, 0, string(rune('a'+i))), pages.reading(0, 0, 1))
	}
	r := near.must(Request{Op: Copy, Segments: segs})
	for i, seg := range r.Segments {
		if want := string(rune('a' + i/2)); string(seg.Local) != want {
			t.Errorf("segment %d has %q, want %q", i, seg.Local, want)
		}
	}
}

func copyBeyondPage(t *testing.T, p Pair) {
	near, far := ends(t, p)
	pages := far.share(near.ID(), 2, grant.ReadOnly)
	for _, seg := range []grant.Segment{
		pages.reading(0, xen.PageSize-7, 8),
		pages.reading(0, xen.PageSize, 1),
		pages.reading(0, 0, xen.PageSize+1),
		pages.reading(0, -1, 8),
		pages.reading(0, 0, 0),
	} {
		near.mustFail(Request{Op: Copy, Segments: []grant.Segment{seg}})
	}
}

func noGrants(t *testing.T, p Pair) {
	near, far := ends(t, p)
	// A full-grown table has so many entries, and the first eight are Xen's.
	e := far.mustFail(Request{Op: Share, Domain: near.ID(), N: 32768})
	if !e.Grants {
		t.Fatalf("share of 32768 pages: %s", e.Text)
	}
	far.share(near.ID(), 1, grant.ReadOnly)
}
