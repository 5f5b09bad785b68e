package grant

import (
	"errors"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"xvsock/xen"
)

func mustShare(t *testing.T, d *fakeDevice, n int) *pages {
	t.Helper()
	p, err := share(d, 7, n, ReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestOneShareIsOneAllocationAndOneMapping(t *testing.T) {
	d := newFake()
	p, err := share(d, 7, 3, Writable)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Bytes()) != 3*xen.PageSize || !slices.Equal(p.Refs(), []Ref{100, 101, 102}) {
		t.Errorf("%d bytes, references %v", len(p.Bytes()), p.Refs())
	}
	want := []string{"alloc 3 for 7 writable=true", "mmap 3 at 0x5000"}
	if diff := cmp.Diff(want, d.calls); diff != "" {
		t.Error(diff)
	}
}

func TestPagesAreReadOnlyToTheOtherDomainUnlessAskedFor(t *testing.T) {
	d := newFake()
	mustShare(t, d, 1)
	if d.calls[0] != "alloc 1 for 7 writable=false" {
		t.Error(d.calls[0])
	}
}

func TestRevokeUnmapsBeforeItDeallocates(t *testing.T) {
	d := newFake()
	p := mustShare(t, d, 2)
	d.calls = nil
	if err := p.Revoke(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"munmap 2", "dealloc 2 at 0x5000"}, d.calls); diff != "" {
		t.Error(diff)
	}
	if p.Bytes() != nil {
		t.Error("Bytes after Revoke")
	}
	d.empty(t)
}

func TestConcurrentRevokesRevokeOnce(t *testing.T) {
	d := newFake()
	p := mustShare(t, d, 2)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := p.Revoke(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	d.empty(t)
	if len(d.calls) != 4 { // alloc, mmap, munmap, dealloc
		t.Errorf("calls: %v", d.calls)
	}
}

func TestRevokeDeallocatesEvenIfTheUnmapFails(t *testing.T) {
	d := newFake()
	p := mustShare(t, d, 1)
	d.fails["munmap"] = syscall.EINVAL
	if err := p.Revoke(); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("error is %v", err)
	}
	d.empty(t)
	if err := p.Revoke(); err != nil {
		t.Errorf("second Revoke: %v", err)
	}
}

func TestRevokeAfterTheDeviceWasClosedIsNoError(t *testing.T) {
	d := newFake()
	p := mustShare(t, d, 1)
	d.fails["dealloc"] = os.ErrClosed
	if err := p.Revoke(); err != nil {
		t.Error(err)
	}
	if d.mapped != 0 {
		t.Error("the pages are still mapped, so the grant has not ended")
	}
}

func TestShareReportsWhyItFailsAndKeepsNothing(t *testing.T) {
	for _, c := range []struct {
		name   string
		to     xen.DomID
		n      int
		access Access
		fail   string
		errno  error
		want   error
		calls  int
	}{
		{"the limit is reached", 7, 1, ReadOnly, "alloc", syscall.ENOSPC, ErrNoGrants, 1},
		{"the reason of the kernel is kept", 7, 1, ReadOnly, "alloc", syscall.ENOSPC, syscall.ENOSPC, 1},
		{"there is no memory", 7, 1, ReadOnly, "alloc", syscall.ENOMEM, syscall.ENOMEM, 1},
		{"the mapping fails", 7, 1, ReadOnly, "mmap", syscall.EAGAIN, syscall.EAGAIN, 3},
		{"no pages", 7, 0, ReadOnly, "", nil, errPageCount, 0},
		{"a negative number of pages", 7, -1, ReadOnly, "", nil, errPageCount, 0},
		{"more pages than any link uses", 7, maxPages + 1, ReadOnly, "", nil, errPageCount, 0},
		{"a domain id that Xen reads as this domain", xen.DomIDSelf, 1, ReadOnly, "", nil, xen.ErrDomID, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newFake()
			d.fails[c.fail] = c.errno
			p, err := share(d, c.to, c.n, c.access)
			if p != nil || !errors.Is(err, c.want) {
				t.Errorf("%v, %v, want %v", p, err, c.want)
			}
			if len(d.calls) != c.calls {
				t.Errorf("calls: %v", d.calls)
			}
			d.empty(t)
		})
	}
	if _, err := share(newFake(), 7, 1, Writable+1); err == nil {
		t.Error("an access that does not exist was accepted")
	}
}

func TestOnRevokeNamesTheByteWithinTheDevice(t *testing.T) {
	d := newFake()
	p := mustShare(t, d, 2)
	d.calls = nil
	for _, clear := range []int{0, xen.PageSize + 64, 2*xen.PageSize - 1} {
		if err := p.OnRevoke(clear, 9); err != nil {
			t.Error(err)
		}
	}
	if err := p.ClearOnRevoke(xen.PageSize + 64); err != nil {
		t.Error(err)
	}
	want := []string{"notify 9 at 0x5000", "notify 9 at 0x6040", "notify 9 at 0x6fff", "clear at 0x6040"}
	if diff := cmp.Diff(want, d.calls); diff != "" {
		t.Error(diff)
	}
}

func TestOnRevokeRefusesWhatIsNotThere(t *testing.T) {
	d := newFake()
	p := mustShare(t, d, 1)
	d.calls = nil
	for _, clear := range []int{-1, xen.PageSize} {
		if err := p.OnRevoke(clear, 9); err == nil {
			t.Errorf("byte %d of one page was accepted", clear)
		}
		if err := p.ClearOnRevoke(clear); err == nil {
			t.Errorf("byte %d of one page was accepted to be cleared", clear)
		}
	}
	if len(d.calls) != 0 {
		t.Errorf("the kernel was asked: %v", d.calls)
	}
	d.fails["notify"], d.fails["clear"] = syscall.EINVAL, syscall.ENOENT
	if err := p.ClearOnRevoke(0); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("a page that is not there: %v", err)
	}
	if err := p.OnRevoke(0, 9); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a port that is not bound: %v", err)
	}
	if err := p.Revoke(); err != nil {
		t.Fatal(err)
	}
	if err := p.OnRevoke(0, 9); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Revoke: %v", err)
	}
	if err := p.ClearOnRevoke(0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("ClearOnRevoke after Revoke: %v", err)
	}
}

func TestACallerThatAppendsToRefsChangesNothing(t *testing.T) {
	d := newFake()
	p := mustShare(t, d, 2)
	_ = append(p.Refs()[:1:1], 999)
	_ = append(p.Refs(), 999)
	if !slices.Equal(p.Refs(), []Ref{100, 101}) {
		t.Errorf("references are %v", p.Refs())
	}
}
