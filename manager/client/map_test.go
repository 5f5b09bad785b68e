package client_test

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/link"
	"xvsock/manager/client"
	"xvsock/manager/port1"
	"xvsock/sim"
)

// A responder maps if it was asked to and its own record lets it, and answers what holds.
func TestAResponderAgreesToMap(t *testing.T) {
	injected := errors.New("injected")
	for name, c := range map[string]struct {
		asked, record port1.Access
		fails         error
		want          port1.Access
	}{
		"asked and allowed":            {port1.AccessMap, port1.AccessMap, nil, port1.AccessMap},
		"asked and not allowed":        {port1.AccessMap, port1.AccessCopy, nil, port1.AccessCopy},
		"not asked":                    {port1.AccessCopy, port1.AccessMap, nil, port1.AccessCopy},
		"asked and allowed, and fails": {port1.AccessMap, port1.AccessMap, injected, port1.AccessCopy},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *sim.Host) {
				n, s, o := accepting(t, h, client.Config{})
				rec := open(o.dom.ID())
				rec.Access = c.record
				s.tell(rec)
				o.opt.Access = link.AccessMap
				m := o.request(n, 5)
				m.Terms.Access = c.asked
				h.Hook(func(call *sim.Call) error {
					if call.Op == sim.OpMap && call.Process == n.proc {
						return c.fails
					}
					return nil
				})
				s.send(m)
				ack := next[port1.ConnectAck](s)
				if ack.Result != port1.OK || ack.Terms.Access != c.want {
					t.Fatalf("the answer is %v with access %d, want %d", ack.Result, ack.Terms.Access, c.want)
				}
				h.Hook(nil)
				o.bind(ack)
				n.await(o.dom.ID(), "up", time.Second)
				mapped := c.want == port1.AccessMap
				if p := n.client.Peers()[0]; p.Mapped != mapped || (n.dom.Mapped() > 0) != mapped {
					t.Errorf("status says mapped: %v; %d pages are", p.Mapped, n.dom.Mapped())
				}
			})
		})
	}
}

// An initiator asks for what its record allows.
func TestAnInitiatorAsksForWhatItMay(t *testing.T) {
	for _, access := range []port1.Access{port1.AccessCopy, port1.AccessMap} {
		bubble(t, func(t *testing.T, h *sim.Host) {
			n := newX(t, h)
			o := newOther(t, h)
			s := n.join()
			rec := open(o.dom.ID())
			rec.Access = access
			s.tell(rec)
			s.complete()
			n.dial(o.dom.ID(), 7)
			if m := next[port1.ConnectReq](s); m.Terms.Access != access {
				t.Errorf("it asks for %d, want %d", m.Terms.Access, access)
			}
			n.stop()
		})
	}
}

// linked is two frontends of the real manager with a link by rule.
func linked(t *testing.T, rule string) (h *house, x, y *node) {
	t.Helper()
	h = newHouse(t)
	x, y = h.frontend("x"), h.frontend("y")
	y.echo(7)
	x.echo(7)
	h.policy(rule)
	time.Sleep(5 * time.Second)
	return h, x, y
}

// mapped checks what the two sides of a link map.
func (n *node) mapped(other *node, want bool) {
	n.t.Helper()
	p, ok := n.client.Peer(other.id())
	if !ok || p.State != "up" || p.Mapped != want || (n.dom.Mapped() == 17) != want {
		n.t.Errorf("%s maps %d pages, and status says %+v", n.dom.Name(), n.dom.Mapped(), p)
	}
}

// A rule decides, at the manager and at both ends; when all is over nothing is left.
func TestARuleLetsALinkBeMapped(t *testing.T) {
	for rule, want := range map[string]bool{
		"7 x y allow":             false,
		"7 x y allow access=copy": false,
		"7 x y allow access=map":  true,
	} {
		t.Run(rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, x, y := linked(t, rule)
				c := x.dial(y.id(), 7).made()
				works(t, c)
				x.mapped(y, want)
				y.mapped(x, want)
				c.Close()
				time.Sleep(80 * time.Second) // idle
				for _, n := range []*node{x, y} {
					if n.dom.Mapped()+n.dom.Stuck() != 0 || n.state(y.id()) == "up" {
						t.Errorf("%s maps %d pages, %d are stuck", n.dom.Name(), n.dom.Mapped(), n.dom.Stuck())
					}
				}
				works(t, x.dial(y.id(), 7).made())
				x.mapped(y, want)
				h.policy("7 x y deny")
				time.Sleep(2 * time.Second)
				if n := x.dom.Mapped() + y.dom.Mapped() + x.dom.Stuck() + y.dom.Stuck(); n != 0 {
					t.Errorf("after a revocation %d pages are mapped or stuck", n)
				}
			})
		})
	}
}

// Requests that cross agree like others.
func TestCrossingRequestsAgreeToMap(t *testing.T) {
	for delay := range 8 {
		t.Run(fmt.Sprint(delay), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, x, y := linked(t, "7 * * allow access=map")
				h.host.Hook(func(c *sim.Call) error {
					if c.Op == sim.OpShare || c.Op == sim.OpInterdomain || c.Op == sim.OpMap {
						time.Sleep(time.Duration(1+c.Pages%3) * time.Millisecond)
					}
					return nil
				})
				dx := x.dial(y.id(), 7)
				time.Sleep(time.Duration(delay) * time.Millisecond)
				dy := y.dial(x.id(), 7)
				works(t, dx.made())
				works(t, dy.made())
				h.host.Hook(nil)
				x.mapped(y, true)
				y.mapped(x, true)
			})
		})
	}
}

// The end of the other domain is found although its pages stay readable.
func TestTheOtherDomainsEndEndsAMappedLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, x, y := linked(t, "7 x y allow access=map")
		c := x.dial(y.id(), 7).made()
		works(t, c)
		h.kill() // so that nobody tells
		begin := time.Now()
		y.dom.Destroy()
		c.SetReadDeadline(begin.Add(3 * time.Second))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) || time.Since(begin) > 2*time.Second {
			t.Errorf("read after the other domain's end: %v after %v", err, time.Since(begin))
		}
		time.Sleep(time.Second)
		if n := x.dom.Mapped(); n != 0 {
			t.Errorf("%d pages are mapped", n)
		}
	})
}
