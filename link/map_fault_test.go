package link_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"xvsock/grant"
	"xvsock/link"
	"xvsock/sim"
	"xvsock/xen"
)

// brittle is a domain's grant device whose mappings are those of files: they show what
// was mapped as it was at the last look, and once they are broken every load from them is
// SIGBUS, as from a mapping of before a restore.
type brittle struct {
	grant.Device
	t     *testing.T
	files []*brittleFile
}

// brittleFile is one mapping.
type brittleFile struct {
	grant.Mapping // of the simulated host
	file          *os.File
	mem           []byte
}

// makeBrittle gives a party such a device.
func makeBrittle(p *party) *brittle {
	b := &brittle{Device: p.dom.Grants, t: p.t}
	p.dom.Grants = b
	return b
}

// Map implements grant.Mapper.
func (b *brittle) Map(from xen.DomID, refs []grant.Ref) (grant.Mapping, error) {
	m, err := b.Device.Map(from, refs)
	if err != nil {
		return nil, err
	}
	file, err := os.Create(filepath.Join(b.t.TempDir(), "pages"))
	if err != nil {
		b.t.Fatal(err)
	}
	f := &brittleFile{Mapping: m, file: file}
	f.look(b.t)
	if f.mem, err = unix.Mmap(int(file.Fd()), 0, len(refs)*xen.PageSize, unix.PROT_READ, unix.MAP_SHARED); err != nil {
		b.t.Fatal(err)
	}
	b.files = append(b.files, f)
	return f, nil
}

// look has the mapping show what is there now.
func (f *brittleFile) look(t *testing.T) {
	if _, err := f.file.WriteAt(sim.Peek(f.Mapping.Bytes()), 0); err != nil {
		t.Fatal(err)
	}
}

// look has all mappings show what is there now, the header last.
func (b *brittle) look() {
	for _, f := range slices.Backward(b.files) {
		f.look(b.t)
	}
}

// breaks voids the nth mapping: the header is 0, the ring 1.
func (b *brittle) breaks(n int) {
	if err := b.files[n].file.Truncate(0); err != nil {
		b.t.Fatal(err)
	}
}

// Bytes implements grant.Mapping.
func (f *brittleFile) Bytes() []byte { return f.mem }

// Unmap implements grant.Mapping.
func (f *brittleFile) Unmap() error {
	return errors.Join(f.Mapping.Unmap(), unix.Munmap(f.mem), f.file.Close())
}

// brittleLink is a link of which one side's mappings can break. It has received 4 bytes,
// which that side knows of and has not read.
func brittleLink(t *testing.T, opt link.Options) (b *brittle, l *link.Link, one, two *party) {
	t.Helper()
	opt.Access = link.AccessMap
	_, one, two = guests(t, opt, mapping)
	one.dom.Suspends = true
	b = makeBrittle(one)
	i, r := one.offer(two), two.offer(one)
	if err := errors.Join(r.Adopt(i.Terms().Generation), r.Bind(i.Terms()), i.Bind(r.Terms())); err != nil {
		t.Fatal(err)
	}
	rl, err := r.Link(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rl.Close() })
	send(t, rl, []byte("data"))
	b.look()
	if l, err = i.Link(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	for l.Access() != link.AccessMap || len(peeked(t, l)) < 4 {
		if err := l.Wait(time.Second); err != nil {
			t.Fatal(err)
		}
	}
	return b, l, one, two
}

func peeked(t *testing.T, l *link.Link) []byte {
	t.Helper()
	a, _, err := l.Peek(4)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// A header that faults ends the link as lost, wherever it is looked at, and not the
// process. Everything can still be given back.
func TestAFaultInTheHeaderLosesTheLink(t *testing.T) {
	for name, polls := range map[string]bool{"asleep": false, "polling": true} {
		t.Run(name, func(t *testing.T) {
			b, l, one, _ := brittleLink(t, link.Options{})
			if polls {
				link.Heat(l)
			}
			b.breaks(0)
			err := l.Wait(time.Millisecond)
			if link.CauseOf(err) != link.Lost || !strings.Contains(err.Error(), "void") {
				t.Errorf("Wait returned %v", err)
			}
			if again := l.Wait(time.Hour); again != err {
				t.Errorf("and then %v", again)
			}
			if _, _, err := l.Peek(1); link.CauseOf(err) != link.Lost {
				t.Errorf("Peek returned %v", err)
			}
			if err := errors.Join(l.Close()); err != nil {
				t.Error(err)
			}
			if one.holds() != 0 {
				t.Errorf("%d pages and ports are held", one.holds())
			}
		})
	}
}

func TestAFaultWhileALinkIsMadeEndsTheAttempt(t *testing.T) {
	_, one, two := guests(t, mapping, mapping)
	b := makeBrittle(one)
	i, r := one.offer(two), two.offer(one)
	if err := errors.Join(r.Adopt(i.Terms().Generation), r.Bind(i.Terms()), i.Bind(r.Terms())); err != nil {
		t.Fatal(err)
	}
	b.breaks(0)
	if _, err := i.Link(t.Context()); err == nil || link.CauseOf(err) != link.Lost {
		t.Errorf("Link returned %v", err)
	}
	if err := errors.Join(i.Release(), r.Release()); err != nil {
		t.Error(err)
	}
	clean(t, one, two)
}

// reads copies what a link shows, as mux does, and returns what Fault says if that
// panics.
func reads(t *testing.T, l *link.Link, from []byte) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if bug := recover(); bug != nil {
			err = l.Fault(bug)
		}
	}()
	copy(make([]byte, len(from)), from)
	t.Error("no fault")
	return nil
}

// Payload that faults ends the link as lost too, if its reader asks.
func TestAFaultInThePayloadLosesTheLink(t *testing.T) {
	b, l, _, _ := brittleLink(t, link.Options{})
	if string(peeked(t, l)) != "data" {
		t.Fatalf("received %q", peeked(t, l))
	}
	data := peeked(t, l)
	b.breaks(1)
	err := reads(t, l, data)
	if link.CauseOf(err) != link.Lost || err == nil || l.Err() != err {
		t.Errorf("the fault is %v, the link %v", err, l.Err())
	}
}

// A panic that is not a fault of this link's pages is not Fault's.
func TestOtherPanicsAreNotOfTheLink(t *testing.T) {
	_, l, _, _ := brittleLink(t, link.Options{})
	_, one, two := guests(t, mapping, mapping)
	other := makeBrittle(one)
	if _, err := one.dom.Grants.Map(two.dom.ID(), share(t, two, one)); err != nil {
		t.Fatal(err)
	}
	other.breaks(0)
	if err := reads(t, l, other.files[0].mem); err != nil {
		t.Errorf("a fault elsewhere: %v", err)
	}
	func() {
		defer func() {
			if err := l.Fault(recover()); err != nil {
				t.Errorf("another runtime error: %v", err)
			}
		}()
		var none []int
		_ = none[len(peeked(t, l))]
	}()
	if err := l.Fault("a bug"); err != nil || l.Err() != nil {
		t.Errorf("%v, the link is %v", err, l.Err())
	}
	if err := other.files[0].Unmap(); err != nil {
		t.Error(err)
	}
}

// share grants a page that is taken back at the test's end.
func share(t *testing.T, from, to *party) []grant.Ref {
	t.Helper()
	p, err := from.proc.Grants().Share(to.dom.ID(), 1, grant.ReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Revoke() })
	return p.Refs()
}

// A domain that was restored finds its mappings void before it can know why. It loses the
// link, unmaps, and may make others.
func TestARestoreLosesAMappedLink(t *testing.T) {
	for name, faults := range map[string]bool{"the news come first": false, "a fault comes first": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, l, one, two := brittleLink(t, link.Options{})
				if err := errors.Join(one.home.Suspend(), one.home.Resume()); err != nil {
					t.Fatal(err)
				}
				b.breaks(0)
				b.breaks(1)
				if faults {
					if err := l.Wait(time.Second); link.CauseOf(err) != link.Lost {
						t.Errorf("Wait returned %v", err)
					}
				}
				one.dom.Events.(*sim.Events).Abandon()
				l.End(link.Lost, link.ErrResumed)
				if err := l.Close(); err != nil {
					t.Error(err)
				}
				if one.home.Mapped() != 0 || two.home.Stuck() != 0 {
					t.Errorf("%d pages mapped, %d stuck", one.home.Mapped(), two.home.Stuck())
				}
				one.dom = link.NewDomain(one.home.ID(), one.proc.Grants(), one.proc.OpenEvents(), nil)
				c, d := pair(t, one, two)
				exchange(t, c, d)
			})
		})
	}
}
