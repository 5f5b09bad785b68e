package client_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"xvsock/link"
	"xvsock/sim"
)

// Each of the three parties dies at each call that either frontend makes to its
// devices from the Dial on, and at each message: everything is given back.
func TestDeathAtEveryStep(t *testing.T) {
	lose := errors.New("killed")
	victims := map[string]func(w *two){
		"the initiator's process": func(w *two) { w.x.proc.Kill() },
		"the responder's process": func(w *two) { w.y.proc.Kill() },
		"the initiator's domain":  func(w *two) { w.x.dom.Destroy() },
		"the responder's domain":  func(w *two) { w.y.dom.Destroy() },
		"the manager": func(w *two) {
			for _, s := range []*script{w.sx, w.sy} {
				s.front.End(link.Lost, lose)
				s.back.End(link.Lost, lose)
			}
		},
	}
	for name, kill := range victims {
		t.Run(name, func(t *testing.T) {
			for step, last := int32(1), false; !last; step++ {
				t.Run(fmt.Sprint("step ", step), func(t *testing.T) {
					bubble(t, func(t *testing.T, h *sim.Host) { last = dieAt(t, h, step, kill) })
				})
			}
		})
	}
}

// dieAt has a victim die at a step of the first Dial and checks what is left. It
// reports whether there are no more steps.
func dieAt(t *testing.T, h *sim.Host, step int32, kill func(w *two)) (last bool) {
	w := newTwo(t, h)
	var steps atomic.Int32
	count := func() {
		if steps.Add(1) == step {
			kill(w)
		}
	}
	h.Hook(func(*sim.Call) error { count(); return nil })
	w.b.swallow(func(any) bool { count(); return false })
	d := w.x.dial(w.y.id(), 7)
	<-d.done
	if d.err == nil {
		d.conn.Close()
	}
	last = steps.Load() < step
	h.Hook(nil)
	w.b.swallow(nil)
	time.Sleep(100 * time.Second) // the link is idle for 60 s by then
	for _, n := range []*node{w.x, w.y} {
		if h.Domain(n.id()) != nil {
			n.holds(0, 0)
			if t.Failed() {
				t.Logf("domain %v: %+v, %+v; Dial: %v", n.id(), n.client.Peers(), n.stack.Peers(), d.err)
			}
		}
	}
	return last
}
