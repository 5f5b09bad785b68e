package grant

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"xvsock/xen"
)

func TestMapNamesMapsUnmapsAndForgetsInThisOrder(t *testing.T) {
	d := newFake()
	m, err := mapPages(d, 3, []Ref{8, 9})
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Bytes()) != 2*xen.PageSize {
		t.Errorf("%d bytes", len(m.Bytes()))
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := m.Unmap(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	want := []string{"name [8 9] of 3", "mmap 2 at 0x5000", "munmap 2", "forget 2 at 0x5000"}
	if diff := cmp.Diff(want, d.calls); diff != "" {
		t.Error(diff)
	}
	if m.Bytes() != nil {
		t.Error("Bytes after Unmap")
	}
	d.empty(t)
}

func TestMapReportsWhyItFailsAndKeepsNothing(t *testing.T) {
	for _, c := range []struct {
		name  string
		from  xen.DomID
		refs  []Ref
		fail  string
		errno error
		want  error
	}{
		{"a reference is bad", 3, []Ref{8}, "mmap", syscall.EINVAL, syscall.EINVAL},
		{"gntdev's limit is reached", 3, []Ref{8}, "name", syscall.ENOMEM, syscall.ENOMEM},
		{"no references", 3, nil, "", nil, errPageCount},
		{"too many references", 3, make([]Ref, maxPages+1), "", nil, errPageCount},
		{"no domain", xen.DomIDFirstReserved, []Ref{8}, "", nil, xen.ErrDomID},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newFake()
			d.fails[c.fail] = c.errno
			m, err := mapPages(d, c.from, c.refs)
			if m != nil || !errors.Is(err, c.want) {
				t.Errorf("%v, %v, want %v", m, err, c.want)
			}
			d.empty(t)
		})
	}
}

func TestUnmapAfterTheDeviceWasClosedIsNoError(t *testing.T) {
	d := newFake()
	m, err := mapPages(d, 3, []Ref{8})
	if err != nil {
		t.Fatal(err)
	}
	d.fails["forget"] = os.ErrClosed
	if err := m.Unmap(); err != nil {
		t.Error(err)
	}
	if d.mapped != 0 {
		t.Error("still mapped")
	}
}
