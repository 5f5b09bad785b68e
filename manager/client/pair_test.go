package client_test

import (
	"errors"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"xvsock/manager/port1"
	"xvsock/sim"
	"xvsock/vsock"
)

func TestDialMakesTheLink(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		w := newTwo(t, h)
		works(t, w.x.dial(w.y.id(), 7).made())
		w.x.await(w.y.id(), "up", time.Second)
		w.y.await(w.x.id(), "up", time.Second)
		w.x.holds(linkPages, linkPorts)
		w.y.holds(linkPages, linkPorts)
		// The next ones go over the same link, either way.
		works(t, w.x.dial(w.y.id(), 7).made())
		works(t, w.y.dial(w.x.id(), 8).made())
		w.x.holds(linkPages, linkPorts)
	})
}

func TestManyDialsShareOneLink(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		w := newTwo(t, h)
		var dials []*dialing
		for range 50 {
			dials = append(dials, w.x.dial(w.y.id(), 7))
		}
		for _, d := range dials {
			works(t, d.made())
		}
		w.x.holds(linkPages, linkPorts)
	})
}

func TestCrossingRequestsMakeOneLink(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		w := newTwo(t, h)
		// The manager takes neither request before both are there.
		var mu sync.Mutex
		reqs := make(map[*script]port1.ConnectReq)
		w.b.swallow(func(m any) bool {
			mu.Lock()
			defer mu.Unlock()
			if r, ok := m.(port1.ConnectReq); ok {
				if r.Domain == w.y.id() {
					reqs[w.sx] = r
				} else {
					reqs[w.sy] = r
				}
			}
			return true
		})
		dx, dy := w.x.dial(w.y.id(), 7), w.y.dial(w.x.id(), 8)
		time.Sleep(time.Second)
		w.b.swallow(nil)
		mu.Lock()
		defer mu.Unlock()
		if len(reqs) != 2 {
			t.Fatalf("%d requests", len(reqs))
		}
		w.b.mu.Lock()
		w.b.handle(w.x.id(), reqs[w.sx])
		w.b.handle(w.y.id(), reqs[w.sy])
		w.b.mu.Unlock()
		works(t, dx.made())
		works(t, dy.made())
		w.x.holds(linkPages, linkPorts)
		w.y.holds(linkPages, linkPorts)
		if w.sx.front.Err() != nil || w.sy.front.Err() != nil {
			t.Errorf("front links: %v, %v", w.sx.front.Err(), w.sy.front.Err())
		}
	})
}

func TestIdleLinkIsClosedAndMadeAgain(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		w := newTwo(t, h)
		for range 3 {
			c := w.x.dial(w.y.id(), 7).made()
			works(t, c)
			c.Close()
			time.Sleep(80 * time.Second)
			w.x.holds(0, 0)
			w.y.holds(0, 0)
		}
	})
}

func TestLinksRunOnWithoutTheManager(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		w := newTwo(t, h)
		c := w.x.dial(w.y.id(), 7).made()
		w.sx.die()
		w.sy.die()
		time.Sleep(10 * time.Second)
		works(t, c)
		works(t, w.x.dial(w.y.id(), 7).made())

		// The next manager is told of the link.
		sx := w.x.join()
		if len(sx.hello.Links) != 1 || sx.hello.Links[0].UUID != uuid(w.y.id()) {
			t.Errorf("HELLO tells of %+v", sx.hello.Links)
		}
		sx.tell(record(w.y.id(), ports(7, 9), ports(7, 9)))
		sx.complete()
		works(t, c)
	})
}

func TestWhatTheNextManagerDoesNotTellOfEnds(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		w := newTwo(t, h)
		c := w.x.dial(w.y.id(), 7).made()
		works(t, c)
		w.sx.die()
		sx := w.x.join()
		works(t, c)
		sx.complete()
		revoked(t, c)
		time.Sleep(time.Second)
		w.x.holds(0, 0)
		w.x.dial(w.y.id(), 7).fails(syscall.EHOSTUNREACH)
	})
}

// revoked checks that a connection ends for that reason within a second.
func revoked(t *testing.T, c *vsock.Conn) {
	t.Helper()
	if err := lost(t, c); !strings.HasSuffix(err.Error(), "connection reset: revoked") {
		t.Errorf("the connection ends with: %v", err)
	}
}

// lost checks that a connection is reset within a second, and returns the error.
func lost(t *testing.T, c *vsock.Conn) error {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(time.Second))
	_, err := c.Read(make([]byte, 1))
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("read: %v, want a reset", err)
	}
	return err
}

func TestDialAfterALossMakesTheLinkAgain(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		w := newTwo(t, h)
		c := w.x.dial(w.y.id(), 7).made()
		works(t, c)
		w.y.kill()
		lost(t, c)
		w.x.await(w.y.id(), "idle", 3*time.Second)
		w.x.holds(0, 0)
		y := newNode(t, w.y.dom)
		y.echo(7)
		w.b.meet(y)
		works(t, w.x.dial(w.y.id(), 7).made())
	})
}

func TestTheOtherDomainsEndIsTheLinksEnd(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		w := newTwo(t, h)
		c := w.x.dial(w.y.id(), 7).made()
		works(t, c)
		w.y.dom.Destroy()
		c.SetReadDeadline(time.Now().Add(3 * time.Second))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read after the other domain's end: %v", err)
		}
		w.x.await(w.y.id(), "idle", 3*time.Second)
		w.x.holds(0, 0)
	})
}
