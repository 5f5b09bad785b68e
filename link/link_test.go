package link_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"xvsock/link"
	"xvsock/sim"
	"xvsock/toolstack"
	"xvsock/xenbus"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// side is one half of a front link on the simulated host: a process of a domain
// that runs Front or Back, and the links that it forms.
type side struct {
	t      *testing.T
	dom    *sim.Domain
	proc   *sim.Process
	store  interface{ Close() error }
	links  chan *link.Link
	done   chan error
	cancel context.CancelFunc
}

// use hands each link to the test and holds it until it ends.
func (s *side) use(_ context.Context, l *link.Link) error {
	s.links <- l
	<-l.Done()
	return l.Err()
}

// start runs one half in a new process of dom.
func start(t *testing.T, dom *sim.Domain, opt link.Options, run func(*link.Domain, link.Options, context.Context, link.Use) error) *side {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s := &side{t: t, dom: dom, proc: dom.NewProcess(), links: make(chan *link.Link, 100), done: make(chan error, 1), cancel: cancel}
	store := s.proc.Xenstore()
	s.store = store
	if opt.Log == nil {
		opt.Log = slog.New(slog.NewTextHandler(t.Output(), nil)).With("half", dom.Name())
	}
	go func() {
		d := link.NewDomain(dom.ID(), s.proc.Grants(), s.proc.Events(), store)
		s.done <- run(d, opt, ctx, s.use)
	}()
	return s
}

// frontend runs the frontend's half in dom.
func frontend(t *testing.T, dom *sim.Domain, opt link.Options) *side {
	return start(t, dom, opt, func(d *link.Domain, o link.Options, ctx context.Context, use link.Use) error {
		return link.NewFront(d, o).Run(ctx, use)
	})
}

// backend runs the backend's half for front in dom.
func backend(t *testing.T, dom, front *sim.Domain, opt link.Options) *side {
	return start(t, dom, opt, func(d *link.Domain, o link.Options, ctx context.Context, use link.Use) error {
		return link.NewBack(d, front.ID(), o).Run(ctx, use)
	})
}

// link returns the next link that forms.
func (s *side) link() *link.Link {
	s.t.Helper()
	select {
	case l := <-s.links:
		return l
	case <-time.After(2 * time.Minute):
		s.t.Fatalf("%s: no link formed", s.dom.Name())
		return nil
	}
}

// ended waits until l has ended and returns its cause.
func (s *side) ended(l *link.Link, within time.Duration) link.Cause {
	s.t.Helper()
	select {
	case <-l.Done():
	case <-time.After(within):
		s.t.Fatalf("%s: link is still up after %v", s.dom.Name(), within)
	}
	return link.CauseOf(l.Err())
}

// stop ends the half in order and returns what Run said.
func (s *side) stop() error {
	s.t.Helper()
	s.cancel()
	return s.result()
}

// result waits for Run.
func (s *side) result() error {
	s.t.Helper()
	select {
	case err := <-s.done:
		s.store.Close()
		return err
	case <-time.After(time.Minute):
		s.t.Fatalf("%s: Run does not return", s.dom.Name())
		return nil
	}
}

// kill ends the half as SIGKILL does.
func (s *side) kill() {
	s.t.Helper()
	s.proc.Kill()
	s.stop()
}

// host returns a host with dom0 and one more domain, attached to it.
func host(t *testing.T) (h *sim.Host, dom0, guest *sim.Domain) {
	t.Helper()
	h = sim.NewTest(t)
	guest = h.Create(sim.DomainConfig{Name: "guest"})
	attach(t, h, guest)
	return h, h.Domain(0), guest
}

// attach attaches dom to dom0.
func attach(t *testing.T, h *sim.Host, dom *sim.Domain) {
	t.Helper()
	store := h.Toolstack()
	defer store.Close()
	front := toolstack.Domain{ID: dom.ID(), Name: dom.Name(), UUID: dom.UUID()}
	if err := toolstack.Attach(t.Context(), store, front, toolstack.Domain{ID: 0}, nil); err != nil {
		t.Fatal(err)
	}
}

// send writes one frame of bytes and wakes the other side.
func send(t *testing.T, l *link.Link, data []byte) {
	t.Helper()
	a, b := l.Reserve(len(data))
	if len(a)+len(b) != len(data) {
		t.Fatalf("reserved %d bytes of %d", len(a)+len(b), len(data))
	}
	copy(b, data[copy(a, data):])
	if err := errors.Join(l.Commit(len(data)), l.Flush()); err != nil {
		t.Fatal(err)
	}
}

// receive waits for n bytes.
func receive(t *testing.T, l *link.Link, n int) []byte {
	t.Helper()
	for {
		a, b, err := l.Peek(n)
		if err != nil {
			t.Fatal(err)
		}
		if len(a)+len(b) >= n {
			got := append(bytes.Clone(a), b...)[:n]
			l.Discard(n)
			if err := l.Flush(); err != nil {
				t.Fatal(err)
			}
			return got
		}
		if err := l.Wait(10 * time.Second); err != nil {
			t.Fatal(err)
		}
	}
}

// exchange sends bytes both ways.
func exchange(t *testing.T, a, b *link.Link) {
	t.Helper()
	for i := range 100 {
		text := bytes.Repeat([]byte{byte(i), byte(i >> 3)}, min(1+i*40, a.Ring()/4))
		send(t, a, text)
		if got := receive(t, b, len(text)); !bytes.Equal(got, text) {
			t.Fatalf("message %d came over changed", i)
		}
		send(t, b, text)
		if got := receive(t, a, len(text)); !bytes.Equal(got, text) {
			t.Fatalf("message %d came back changed", i)
		}
	}
}

func TestFrontLinkFormsCarriesBytesAndLeavesNothing(t *testing.T) {
	for name, order := range map[string][2]bool{
		"backend first": {true, false}, "frontend first": {false, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, dom0, guest := host(t)
				var f, b *side
				for _, isBack := range order {
					if isBack {
						b = backend(t, dom0, guest, link.Options{})
					} else {
						f = frontend(t, guest, link.Options{})
					}
					synctest.Wait()
				}
				fl, bl := f.link(), b.link()
				if fl.Generation() != bl.Generation() || fl.Pages() != 33 || bl.Pages() != 1 {
					t.Errorf("frontend has generation %x and %d pages, backend %x and %d",
						fl.Generation(), fl.Pages(), bl.Generation(), bl.Pages())
				}
				exchange(t, fl, bl)
				if err := f.stop(); !errors.Is(err, context.Canceled) {
					t.Errorf("frontend's Run returned %v", err)
				}
				if c := b.ended(bl, time.Second); c != link.Lost {
					t.Errorf("backend's link ended as %v, want lost", c)
				}
				b.stop()
			})
		})
	}
}

func TestLinkFormsAgainAfterEitherSideWasKilled(t *testing.T) {
	for _, who := range []string{"backend", "frontend"} {
		t.Run(who, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, dom0, guest := host(t)
				f, b := frontend(t, guest, link.Options{}), backend(t, dom0, guest, link.Options{})
				fl, bl := f.link(), b.link()
				begin := time.Now()
				stays, stayed := f, fl
				if who == "backend" {
					b.kill()
					b = backend(t, dom0, guest, link.Options{})
				} else {
					stays, stayed = b, bl
					f.kill()
					f = frontend(t, guest, link.Options{})
				}
				if c := stays.ended(stayed, 2*time.Second); c != link.Lost {
					t.Errorf("the other side's link ended as %v, want lost", c)
				}
				fl, bl = f.link(), b.link()
				if took := time.Since(begin); took > 5*time.Second {
					t.Errorf("link was formed again after %v", took)
				}
				exchange(t, fl, bl)
				f.stop()
				b.stop()
			})
		})
	}
}

// A process that dies while nobody waits on the ring is noticed by the event that
// the kernel sends for it, without xenstore.
func TestDeathOfAProcessWakesWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, dom0, guest := host(t)
		f, b := frontend(t, guest, link.Options{}), backend(t, dom0, guest, link.Options{})
		fl, _ := f.link(), b.link()
		begin := time.Now()
		waited := make(chan error, 1)
		go func() {
			for {
				if err := fl.Wait(0); err != nil {
					waited <- err
					return
				}
			}
		}()
		b.kill()
		if err := <-waited; link.CauseOf(err) != link.Lost || time.Since(begin) > 0 {
			t.Errorf("Wait returned %v after %v, want lost at once", err, time.Since(begin))
		}
		f.stop()
	})
}

func TestBackendNoticesThatTheDomainIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, dom0, guest := host(t)
		f, b := frontend(t, guest, link.Options{}), backend(t, dom0, guest, link.Options{})
		_, bl := f.link(), b.link()
		guest.Destroy()
		if c := b.ended(bl, 2*time.Second); c != link.Lost {
			t.Errorf("link ended as %v, want lost", c)
		}
		if err := b.result(); !errors.Is(err, xenbus.ErrGone) {
			t.Errorf("Run returned %v, want %v", err, xenbus.ErrGone)
		}
		f.stop()
	})
}
