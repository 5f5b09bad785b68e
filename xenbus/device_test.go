package xenbus_test

import (
	"context"
	"errors"
	"io/fs"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/sim"
	"xvsock/toolstack"
	"xvsock/xen"
	"xvsock/xenbus"
	"xvsock/xenstore"
)

// device is a host with a backend's domain and a frontend's, attached to it, and
// both halves open.
type device struct {
	t                     *testing.T
	host                  *sim.Host
	backDom, frontDom     *sim.Domain
	tools                 *xenstore.Client
	backStore, frontStore *xenstore.Client
	back, front           *xenbus.Device
}

// open makes a device. The backend is a domain of its own, so that nobody here
// but the toolstack has rights that a domain has not.
func open(t *testing.T) *device {
	t.Helper()
	d := &device{t: t, host: sim.NewTest(t)}
	d.backDom = d.host.Create(sim.DomainConfig{Name: "back"})
	d.frontDom = d.host.Create(sim.DomainConfig{Name: "front"})
	d.tools = d.host.Toolstack()
	t.Cleanup(func() { d.tools.Close() })
	d.attach(d.backDom)
	d.backStore, d.frontStore = d.store(d.backDom), d.store(d.frontDom)
	var err error
	if d.back, err = xenbus.OpenBack(t.Context(), d.backStore, d.backDom.ID(), d.frontDom.ID()); err != nil {
		t.Fatal(err)
	}
	if d.front, err = xenbus.OpenFront(t.Context(), d.frontStore, d.frontDom.ID()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.front.Close(); d.back.Close() })
	return d
}

// store opens a connection to xenstore as a domain.
func (d *device) store(dom *sim.Domain) *xenstore.Client {
	c := dom.NewProcess().Xenstore()
	d.t.Cleanup(func() { c.Close() })
	return c
}

// attach attaches the frontend's domain.
func (d *device) attach(back *sim.Domain) {
	d.t.Helper()
	front := toolstack.Domain{ID: d.frontDom.ID(), UUID: d.frontDom.UUID()}
	if err := toolstack.Attach(d.t.Context(), d.tools, front, toolstack.Domain{ID: back.ID()}, nil); err != nil {
		d.t.Fatal(err)
	}
}

// read reads a node as the toolstack; a missing one gives "(none)".
func (d *device) read(path string) string {
	d.t.Helper()
	v, err := d.tools.Read(d.t.Context(), path)
	if errors.Is(err, fs.ErrNotExist) {
		return "(none)"
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return v
}

// is returns a condition for Await.
func is(want xenbus.State) func(xenbus.State) bool {
	return func(s xenbus.State) bool { return s == want }
}

func TestHalvesFindEachOtherByTheToolstacksNodes(t *testing.T) {
	d := open(t)
	if d.front.Peer() != d.backDom.ID() || d.back.Peer() != d.frontDom.ID() {
		t.Errorf("peers are %v and %v", d.front.Peer(), d.back.Peer())
	}
	for path, want := range map[string]string{
		xenbus.FrontPath(7):    "/local/domain/7/device/xvsock/0",
		xenbus.BackPath(3, 7):  "/local/domain/3/backend/xvsock/7/0",
		xenbus.BackendsPath(3): "/local/domain/3/backend/xvsock",
	} {
		if path != want {
			t.Errorf("path is %s, want %s", path, want)
		}
	}
}

func TestOpenFrontWithoutAttachmentIsDetached(t *testing.T) {
	h := sim.NewTest(t)
	dom := h.Create(sim.DomainConfig{})
	store := dom.Process().Xenstore()
	defer store.Close()
	if _, err := xenbus.OpenFront(t.Context(), store, dom.ID()); !errors.Is(err, xenbus.ErrDetached) {
		t.Errorf("got %v, want %v", err, xenbus.ErrDetached)
	}
}

func TestOpenFrontTakesNoBackendThatIsNoDomain(t *testing.T) {
	for _, bad := range []string{"", "-1", "32752", "0x1", "1 ", "99999", "../0"} {
		d := open(t)
		if err := d.tools.Write(t.Context(), xenbus.FrontPath(d.frontDom.ID())+"/backend-id", bad); err != nil {
			t.Fatal(err)
		}
		if _, err := xenbus.OpenFront(t.Context(), d.frontStore, d.frontDom.ID()); !errors.Is(err, xenbus.ErrDetached) {
			t.Errorf("backend-id %q gives %v, want %v", bad, err, xenbus.ErrDetached)
		}
	}
}

// The other half must never see a state without the nodes that it announces.
func TestSwitchIsOneTransaction(t *testing.T) {
	d := open(t)
	var seen atomic.Int32
	d.host.Xenstored().OnRequest(func(dom xen.DomID, op xenstore.Op, path string) error {
		if dom == d.frontDom.ID() && op == xenstore.OpWrite {
			seen.Add(1)
			if got := d.read(xenbus.FrontPath(dom) + "/state"); got != "1" {
				t.Errorf("state is %s before the transaction has ended", got)
			}
			if got := d.read(xenbus.FrontPath(dom) + "/header-ref"); got != "(none)" {
				t.Errorf("header-ref is there before the transaction has ended")
			}
		}
		return nil
	})
	err := d.front.Switch(t.Context(), xenbus.Initialised,
		xenbus.Node{Name: "header-ref", Value: "9"}, xenbus.Node{Name: "version", Value: "1"})
	d.host.Xenstored().OnRequest(nil)
	if err != nil || seen.Load() != 3 {
		t.Fatalf("%v after %d writes, want 3", err, seen.Load())
	}
	v, err := d.back.Read(t.Context(), "header-ref", "version", "state")
	if err != nil || v[0] != "9" || v[1] != "1" || v[2] != "3" {
		t.Errorf("the other half reads %v, %v", v, err)
	}
}

func TestSwitchNeverMakesARemovedDirectoryAgain(t *testing.T) {
	for name, half := range map[string]func(*device) (*xenbus.Device, string){
		"frontend": func(d *device) (*xenbus.Device, string) { return d.front, xenbus.FrontPath(d.frontDom.ID()) },
		"backend": func(d *device) (*xenbus.Device, string) {
			return d.back, xenbus.BackPath(d.backDom.ID(), d.frontDom.ID())
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t)
			dev, dir := half(d)
			if err := d.tools.Remove(t.Context(), dir); err != nil {
				t.Fatal(err)
			}
			err := dev.Switch(t.Context(), xenbus.Connected, xenbus.Node{Name: "header-ref", Value: "9"})
			if !errors.Is(err, xenbus.ErrDetached) {
				t.Errorf("Switch returned %v, want %v", err, xenbus.ErrDetached)
			}
			if got := d.read(dir + "/state"); got != "(none)" {
				t.Errorf("%s/state is back: %s", dir, got)
			}
		})
	}
}

// What was meant for the backend before must not be told to the one after: its
// references were granted to another domain.
func TestSwitchOfAFrontendThatWasMovedWritesNothing(t *testing.T) {
	d := open(t)
	d.attach(d.host.Domain(0))
	err := d.front.Switch(t.Context(), xenbus.Initialised, xenbus.Node{Name: "header-ref", Value: "9"})
	if !errors.Is(err, xenbus.ErrMoved) {
		t.Errorf("Switch returned %v, want %v", err, xenbus.ErrMoved)
	}
	dir := xenbus.FrontPath(d.frontDom.ID())
	if s, ref := d.read(dir+"/state"), d.read(dir+"/header-ref"); s != "1" || ref != "(none)" {
		t.Errorf("the new backend reads state %s and header-ref %s", s, ref)
	}
}

// A backend cannot be moved, and must be able to say Closed when online is 0.
func TestBackendSwitchesAlsoWhenOffline(t *testing.T) {
	d := open(t)
	dir := xenbus.BackPath(d.backDom.ID(), d.frontDom.ID())
	if err := d.tools.Write(t.Context(), dir+"/online", "0"); err != nil {
		t.Fatal(err)
	}
	if err := d.back.Switch(t.Context(), xenbus.Closed); err != nil {
		t.Fatal(err)
	}
	if got := d.read(dir + "/state"); got != "6" {
		t.Errorf("state is %s, want 6", got)
	}
}

func TestOtherHalfsStateIsNeverTrusted(t *testing.T) {
	for text, want := range map[string]xenbus.State{
		"4": xenbus.Connected, "0": xenbus.Closed, "9": xenbus.Closed, "": xenbus.Closed,
		"44": xenbus.Closed, "\x1b[2J": xenbus.Closed, "..": xenbus.Closed,
	} {
		d := open(t)
		if err := d.frontStore.Write(t.Context(), xenbus.FrontPath(d.frontDom.ID())+"/state", text); err != nil {
			t.Fatal(err)
		}
		if got, err := d.back.Other(t.Context()); got != want || err != nil {
			t.Errorf("state %q is taken as %v, %v; want %v", text, got, err, want)
		}
	}
}

func TestMissingStateIsClosedToAFrontendAndGoneToABackend(t *testing.T) {
	d := open(t)
	for _, dir := range []string{
		xenbus.FrontPath(d.frontDom.ID()), xenbus.BackPath(d.backDom.ID(), d.frontDom.ID()),
	} {
		if err := d.tools.Remove(t.Context(), dir+"/state"); err != nil {
			t.Fatal(err)
		}
	}
	if s, err := d.front.Other(t.Context()); s != xenbus.Closed || err != nil {
		t.Errorf("frontend takes a missing state as %v, %v", s, err)
	}
	if _, err := d.back.Other(t.Context()); !errors.Is(err, xenbus.ErrGone) {
		t.Errorf("backend takes a missing state as %v, want %v", err, xenbus.ErrGone)
	}
}

// await runs Await and returns what it said, and how long after act.
func await(t *testing.T, dev *xenbus.Device, ctx context.Context, want xenbus.State, act func()) (xenbus.State, time.Duration, error) {
	t.Helper()
	type result struct {
		s   xenbus.State
		err error
	}
	done := make(chan result, 1)
	go func() {
		s, err := dev.Await(ctx, is(want))
		done <- result{s, err}
	}()
	synctest.Wait()
	select {
	case r := <-done:
		t.Fatalf("Await returned %v, %v before anything happened", r.s, r.err)
	default:
	}
	begin := time.Now()
	act()
	r := <-done
	return r.s, time.Since(begin), r.err
}

func TestAwaitEndsForEachReason(t *testing.T) {
	reason := errors.New("enough")
	for name, c := range map[string]struct {
		back bool // wait at the backend's half
		act  func(*device, context.CancelCauseFunc)
		want error
	}{
		"the state comes": {act: func(d *device, _ context.CancelCauseFunc) {
			for _, s := range []xenbus.State{xenbus.InitWait, xenbus.Connected} {
				if err := d.back.Switch(d.t.Context(), s); err != nil {
					d.t.Error(err)
				}
			}
		}},
		"the toolstack detaches": {act: func(d *device, _ context.CancelCauseFunc) {
			d.tools.Remove(d.t.Context(), xenbus.FrontPath(d.frontDom.ID()))
		}, want: xenbus.ErrDetached},
		"the toolstack moves it": {act: func(d *device, _ context.CancelCauseFunc) {
			d.attach(d.host.Domain(0))
		}, want: xenbus.ErrMoved},
		"the frontend's domain is destroyed": {back: true, act: func(d *device, _ context.CancelCauseFunc) {
			d.frontDom.Destroy()
		}, want: xenbus.ErrGone},
		"the context ends": {act: func(_ *device, cancel context.CancelCauseFunc) { cancel(reason) }, want: reason},
		"xenstore ends":    {act: func(d *device, _ context.CancelCauseFunc) { d.frontStore.Close() }, want: xenstore.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := open(t)
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				dev := d.front
				if c.back {
					dev = d.back
				}
				s, took, err := await(t, dev, ctx, xenbus.Connected, func() { c.act(d, cancel) })
				if c.want == nil && (s != xenbus.Connected || err != nil) || !errors.Is(err, c.want) {
					t.Errorf("Await returned %v, %v; want %v", s, err, c.want)
				}
				if took > time.Second {
					t.Errorf("Await took %v to notice", took)
				}
			})
		})
	}
}

// Hostile behaviour 16: a domain may write its own state as often as it likes.
func TestAStormOfStatesCostsABoundedNumberOfReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t)
		var reads atomic.Int32
		d.host.Xenstored().OnRequest(func(dom xen.DomID, op xenstore.Op, _ string) error {
			if dom == d.backDom.ID() && op == xenstore.OpRead {
				reads.Add(1)
			}
			return nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() {
			_, err := d.back.Await(ctx, is(xenbus.Connected))
			done <- err
		}()
		const writes, seconds = 5000, 10
		for i := range writes {
			state := strconv.Itoa(5 + i%2)
			if err := d.frontStore.Write(t.Context(), xenbus.FrontPath(d.frontDom.ID())+"/state", state); err != nil {
				t.Fatal(err)
			}
			time.Sleep(seconds * time.Second / writes)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		d.host.Xenstored().OnRequest(nil)
		if limit := int32(20*seconds + 25); reads.Load() > limit {
			t.Errorf("%d writes in %d s cost %d reads, want %d at most", writes, seconds, reads.Load(), limit)
		}
		if reads.Load() < seconds {
			t.Errorf("only %d reads: the state is not seen any more", reads.Load())
		}
	})
}

func TestCloseGivesTheWatchesBack(t *testing.T) {
	d := open(t)
	for _, dom := range []*sim.Domain{d.backDom, d.frontDom} {
		if d.host.Xenstored().Usage(dom.ID()).Watches == 0 {
			t.Errorf("%s has no watch while its half is open", dom.Name())
		}
	}
	if err := errors.Join(d.front.Close(), d.back.Close()); err != nil {
		t.Fatal(err)
	}
	for _, dom := range []*sim.Domain{d.backDom, d.frontDom} {
		if n := d.host.Xenstored().Usage(dom.ID()).Watches; n != 0 {
			t.Errorf("%s still has %d watches", dom.Name(), n)
		}
	}
	if n := d.host.Xenstored().Usage(d.backDom.ID()).Transactions; n != 0 {
		t.Errorf("%d transactions are open", n)
	}
}
