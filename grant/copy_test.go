package grant

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"xvsock/internal/sys"
	"xvsock/xen"
)

func TestACopyThatBreaksTheRulesIsRefusedBeforeTheCall(t *testing.T) {
	page := make([]byte, xen.PageSize+1)
	for _, c := range []struct {
		name string
		seg  Segment
	}{
		{"no local memory", Segment{Domain: 1}},
		{"more than a page", Segment{Domain: 1, Local: page}},
		{"a negative offset", Segment{Domain: 1, Local: page[:1], Offset: -1}},
		{"the first byte beyond the page", Segment{Domain: 1, Local: page[:1], Offset: xen.PageSize}},
		{"the last byte beyond the page", Segment{Domain: 1, Local: page[:8], Offset: xen.PageSize - 7}},
		{"an offset that would overflow", Segment{Domain: 1, Local: page[:8], Offset: 1<<63 - 4}},
		{"a reserved domain id", Segment{Domain: xen.DomIDFirstReserved, Local: page[:1]}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.seg.Status = StatusOkay
			segs := []Segment{{Domain: 1, Local: page[:1], Status: StatusOkay}, c.seg}
			err := prepare(segs)
			if !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), "segment 1 of 2") {
				t.Errorf("error is %v", err)
			}
			for i, s := range segs {
				if s.Status != StatusUnset {
					t.Errorf("segment %d kept its old status: %v", i, s.Status)
				}
			}
		})
	}
}

func TestACopyThatKeepsTheRulesPasses(t *testing.T) {
	page := make([]byte, xen.PageSize)
	segs := []Segment{
		{Local: page, Domain: 0},
		{Local: page[:1], Domain: 1, Offset: xen.PageSize - 1, Write: true},
		{Local: page[:1], Domain: xen.DomIDFirstReserved - 1},
	}
	if err := prepare(segs); err != nil {
		t.Error(err)
	}
}

func TestBatchesKeepOrderAndDirection(t *testing.T) {
	for _, c := range []struct {
		name string
		segs string // r or w each
		want []int
	}{
		{"one", "r", []int{1}},
		{"sixteen reads are one call", strings.Repeat("r", 16), []int{16}},
		{"seventeen writes are two calls", strings.Repeat("w", 17), []int{16, 1}},
		{"a change of direction begins a new call", "rrwrr", []int{2, 1, 2}},
		{"a change of direction within a full batch", strings.Repeat("r", 10) + strings.Repeat("w", 20), []int{10, 16, 4}},
	} {
		t.Run(c.name, func(t *testing.T) {
			segs := make([]Segment, len(c.segs))
			for i, way := range c.segs {
				segs[i].Write = way == 'w'
			}
			var got []int
			for rest := segs; len(rest) > 0; {
				n := batchLen(rest)
				got = append(got, n)
				rest = rest[n:]
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("batches of %v, want %v", got, c.want)
			}
		})
	}
}

func TestASegmentBecomesTheKernelsSegment(t *testing.T) {
	local := make([]byte, 64)
	segs := make([]Segment, sys.CopyBatch)
	for i := range segs {
		segs[i] = Segment{Local: local[i:], Domain: xen.DomID(40 + i), Ref: Ref(1<<31 + i), Offset: 4000 + i}
	}
	var in [sys.CopyBatch]sys.CopyIn
	var out [sys.CopyBatch]sys.CopyOut
	fillIn(&in, segs)
	fillOut(&out, segs)
	for i := range segs {
		far := sys.Foreign{Ref: uint32(1<<31 + i), Offset: uint16(4000 + i), DomID: uint16(40 + i)}
		var wantIn sys.CopyIn
		wantIn.Set(far, local[i:])
		if in[i] != wantIn {
			t.Errorf("in %d: %+v, want %+v", i, in[i], wantIn)
		}
		var wantOut sys.CopyOut
		wantOut.Set(far, local[i:])
		if out[i] != wantOut {
			t.Errorf("out %d: %+v, want %+v", i, out[i], wantOut)
		}
	}
}

func TestTheFirstSegmentThatFailedIsTheError(t *testing.T) {
	segs := []Segment{{}, {Ref: 12, Domain: 5, Status: StatusBadDomain}, {Status: StatusBadPage}}
	err := verdict(segs)
	if !errors.Is(err, StatusBadDomain) || !strings.Contains(err.Error(), "segment 1 of 3, reference 12 of domain 5") {
		t.Errorf("error is %v", err)
	}
	if err := verdict(segs[:1]); err != nil {
		t.Errorf("all okay: %v", err)
	}
	if err := verdict([]Segment{{Status: StatusUnset}}); !errors.Is(err, StatusUnset) || StatusUnset.Gone() {
		t.Errorf("a segment of which the kernel said nothing: %v", err)
	}
}

// kernelWithoutXen has devices that open but answer no request.
func kernelWithoutXen(t testing.TB) *Kernel {
	k, err := Open(Config{Gntalloc: "/dev/null", Gntdev: "/dev/null", GuestType: guestType(t, "PV")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

func TestTheStatusBeforeACopyIsTheSameOnBothSidesOfTheBoundary(t *testing.T) {
	if Status(sys.StatusUnset) != StatusUnset {
		t.Errorf("package sys says %d, this package %d", sys.StatusUnset, int16(StatusUnset))
	}
}

func TestACallThatFailsLeavesNoStatusThatLooksGood(t *testing.T) {
	k := kernelWithoutXen(t)
	for _, write := range []bool{false, true} {
		segs := make([]Segment, 20)
		for i := range segs {
			segs[i] = Segment{Local: make([]byte, 8), Write: write}
		}
		if err := k.Copy(segs); !errors.Is(err, syscall.ENOTTY) {
			t.Errorf("error is %v", err)
		}
		for i, s := range segs {
			if s.Status != StatusUnset {
				t.Errorf("write=%v: status of segment %d is %v", write, i, s.Status)
			}
		}
	}
	if err := k.Copy(nil); err != nil {
		t.Errorf("a copy of nothing: %v", err)
	}
}

func TestACopyDoesNotAllocate(t *testing.T) {
	k := kernelWithoutXen(t)
	segs := make([]Segment, sys.CopyBatch)
	for _, write := range []bool{false, true} {
		for i := range segs {
			segs[i] = Segment{Local: make([]byte, 8), Write: write}
		}
		if n := testing.AllocsPerRun(100, func() {
			if err := prepare(segs); err != nil {
				t.Fatal(err)
			}
			if err := k.copyBatch(segs); err != syscall.ENOTTY {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("write=%v: %v allocations", write, n)
		}
	}
}

func BenchmarkFullBatchUpToTheKernel(b *testing.B) {
	k := kernelWithoutXen(b)
	segs := make([]Segment, sys.CopyBatch)
	for i := range segs {
		segs[i] = Segment{Local: make([]byte, xen.PageSize)}
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := prepare(segs); err != nil {
			b.Fatal(err)
		}
		if err := k.copyBatch(segs); err != syscall.ENOTTY {
			b.Fatal(err)
		}
	}
}
