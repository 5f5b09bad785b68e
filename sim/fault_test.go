package sim_test

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/grant"
	"xvsock/sim"
	"xvsock/xen"
)

var sprintf = fmt.Sprintf

func TestAHookCanFailEveryCall(t *testing.T) {
	h, a, b := pair(t)
	p := a.Process()
	pages := share(t, p, b, 1, grant.ReadOnly)
	m := mapped(t, p, b, share(t, b.Process(), a, 1, grant.ReadOnly).Refs())
	c, _ := connect(t, p, b.Process())
	calls := map[sim.Op]func() error{
		sim.OpShare:       func() error { _, err := p.Grants().Share(2, 1, 0); return err },
		sim.OpOnRevoke:    func() error { return pages.OnRevoke(0, c.Port()) },
		sim.OpRevoke:      pages.Revoke,
		sim.OpCopy:        func() error { _, err := read(p, 2, 8, 0, 8); return err },
		sim.OpMap:         func() error { _, err := p.Grants().Map(2, []grant.Ref{8}); return err },
		sim.OpUnmap:       m.Unmap,
		sim.OpUnbound:     func() error { _, err := p.Events().Unbound(2); return err },
		sim.OpInterdomain: func() error { _, err := p.Events().Interdomain(2, 8); return err },
		sim.OpNotify:      c.Notify,
		sim.OpUnmask:      c.Unmask,
		sim.OpClose:       c.Close,
	}
	for op, call := range calls {
		h.Hook(func(c *sim.Call) error {
			if c.Op != op || c.Process != p {
				t.Errorf("hook saw %v, want %v", c.Op, op)
			}
			return syscall.EIO
		})
		if err := call(); !errors.Is(err, syscall.EIO) {
			t.Errorf("%v: %v", op, err)
		}
	}
	h.Hook(nil)
}

func TestAHookCanTearACopy(t *testing.T) {
	h, a, b := pair(t)
	pages := share(t, a.Process(), b, 1, grant.ReadOnly)
	for at := range 9 {
		copy(pages.Bytes(), "AAAAAAAA")
		h.Hook(func(c *sim.Call) error {
			if c.Op == sim.OpCopy {
				c.Split(0, at, func() { copy(pages.Bytes(), "BBBBBBBB") })
			}
			return nil
		})
		got, err := read(b.Process(), a.ID(), pages.Refs()[0], 0, 8)
		if want := "AAAAAAAA"[:at] + "BBBBBBBB"[at:]; got != want || err != nil {
			t.Errorf("split at %d: read %q, %v; want %q", at, got, err, want)
		}
	}
	h.Hook(nil)
}

func TestAPageRevokedInTheMiddleOfACopy(t *testing.T) {
	h, a, b := pair(t)
	pages := share(t, a.Process(), b, 1, grant.ReadOnly)
	h.Hook(func(c *sim.Call) error {
		if c.Op == sim.OpCopy {
			c.Split(0, 4, func() { pages.Revoke() })
		}
		return nil
	})
	_, err := read(b.Process(), a.ID(), pages.Refs()[0], 0, 8)
	h.Hook(nil)
	if !errors.Is(err, grant.StatusGeneralError) {
		t.Fatal(err)
	}
}

func TestAHookCanFailOneSegment(t *testing.T) {
	h, a, b := pair(t)
	pages := share(t, a.Process(), b, 1, grant.ReadOnly)
	h.Hook(func(c *sim.Call) error { c.Fail(1, grant.StatusBadPage); return nil })
	segs := make([]grant.Segment, 3)
	for i := range segs {
		segs[i] = grant.Segment{Local: make([]byte, 8), Domain: a.ID(), Ref: pages.Refs()[0]}
	}
	err := b.Process().Grants().Copy(segs)
	h.Hook(nil)
	if !errors.Is(err, grant.StatusBadPage) || segs[0].Status != 0 || segs[1].Status != grant.StatusBadPage || segs[2].Status != 0 {
		t.Fatalf("%v: %v", err, segs)
	}
}

func TestAHookCanPretend(t *testing.T) {
	h, a, b := pair(t)
	pages := share(t, a.Process(), b, 1, grant.ReadOnly)
	copy(pages.Bytes(), "new")
	ca, cb := connect(t, a.Process(), b.Process())
	h.Hook(func(*sim.Call) error { return sim.ErrPretend })
	seg := []grant.Segment{{Local: []byte("old"), Domain: a.ID(), Ref: pages.Refs()[0]}}
	if err := b.Process().Grants().Copy(seg); err != nil || seg[0].Status != grant.StatusOkay || string(seg[0].Local) != "old" {
		t.Errorf("copy: %v, %v, %q", err, seg[0].Status, seg[0].Local)
	}
	if err := ca.Notify(); err != nil || came(cb) {
		t.Errorf("notify: %v, or the event came", err)
	}
	h.Hook(nil)
}

func TestAHookCanDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, a, b := pair(t)
		ca, cb := connect(t, a.Process(), b.Process())
		h.Hook(func(c *sim.Call) error { time.Sleep(time.Second); return nil })
		before := time.Now()
		ca.Notify()
		h.Hook(nil)
		if !came(cb) || time.Since(before) != time.Second {
			t.Errorf("after %v", time.Since(before))
		}
	})
}

func TestCounts(t *testing.T) {
	_, a, b := pair(t)
	pages := share(t, a.Process(), b, 32, grant.Writable)
	ca, _ := connect(t, a.Process(), b.Process())
	before, sender := b.Counts(), a.Counts()
	local := make([]byte, 64*xen.PageSize) // larger than any size class: page aligned
	segs := make([]grant.Segment, 32)
	for i := range segs {
		segs[i] = grant.Segment{Local: local[i*xen.PageSize:][:xen.PageSize], Domain: a.ID(), Ref: pages.Refs()[i]}
	}
	copyAll := func(segs []grant.Segment) {
		if err := b.Process().Grants().Copy(segs); err != nil {
			t.Fatal(err)
		}
	}
	copyAll(segs[:16])
	if got, want := b.Counts().Minus(before), (sim.Counts{Copies: 1, Segments: 16, CopyIoctls: 1, Hypercalls: 1}); got != want {
		t.Errorf("sixteen pages: %+v", got)
	}
	before = b.Counts()
	for i := range segs {
		segs[i].Local = local[i*xen.PageSize+1:][:xen.PageSize]
	}
	segs[31].Write = true
	copyAll(segs)
	if got, want := b.Counts().Minus(before), (sim.Counts{Copies: 1, Segments: 32, CopyIoctls: 3, Hypercalls: 5}); got != want {
		t.Errorf("thirty-two pages over borders, the last one written: %+v", got)
	}
	ca.Notify()
	ca.Unmask()
	if got, want := a.Counts().Minus(sender), (sim.Counts{Notifies: 1, Unmasks: 1}); got != want {
		t.Errorf("sender: %+v", got)
	}
}

func TestPokeAndPeekWorkBehindTheProtocol(t *testing.T) {
	_, a, b := pair(t)
	pages := share(t, a.Process(), b, 1, grant.ReadOnly)
	m := mapped(t, b.Process(), a, pages.Refs())
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range byte(100) {
			sim.Poke(pages.Bytes(), func(page []byte) { page[3], page[8], page[4095] = i, i, i })
		}
	})
	for range 100 {
		m.Bytes()[8]++
	}
	wg.Wait()
	sim.Poke(a.Page(pages.Refs()[0]), func(page []byte) { page[3], page[8] = 7, 9 })
	if got := sim.Peek(m.Bytes()); got[3] != 7 || got[8] != 9 || got[4095] != 99 {
		t.Errorf("page has %d %d %d", got[3], got[8], got[4095])
	}
	if a.Page(4000) != nil {
		t.Error("a page that was not granted")
	}
}
