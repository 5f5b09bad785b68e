package daemon_test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"xvsock/daemon"
	"xvsock/sim"
	"xvsock/xen"
	"xvsock/xenstore"
)

// newResumableTrio is newTrio with two domains that may be suspended, on a host whose
// toolstack attaches what comes.
func newResumableTrio(t *testing.T) *trio {
	r := &trio{host: newHost(t)}
	r.attachAll()
	r.nodes[theManager] = r.backend()
	for p, name := range map[party]string{initiator: "a", responder: "b"} {
		r.nodes[p] = start(t, r.Create(sim.DomainConfig{Name: name}), resumable(daemon.Frontend), nil)
	}
	r.settle()
	return r
}

// heldByName is held, with the names of the domains in the place of their ids.
func (r *trio) heldByName() held {
	r.t.Helper()
	h := r.held()
	for _, p := range []party{initiator, responder} {
		id := regexp.MustCompile(fmt.Sprintf("^(/local/domain|/libxl|/local/domain/0/backend/xvsock)/%v(/|$)", r.nodes[p].dom.ID()))
		for i, node := range h.Nodes {
			h.Nodes[i] = id.ReplaceAllString(node, "$1/"+r.nodes[p].dom.Name()+"$2")
		}
	}
	slices.Sort(h.Nodes)
	return h
}

// A suspend, and a second one soon after it, at every call that either end makes on
// its devices while a link is brokered, made and used, and while it comes back. The
// call itself is made after the resume, before the program can know of it; only that
// a port is just being unbound is left out, for nothing can be done about that.
// Afterwards everything is as before, and the next attempt succeeds.
func TestNothingIsLeftWhoeverIsSuspendedAtAnyStep(t *testing.T) {
	for i, tt := range []struct {
		name     string
		victim   party
		crossing bool
		after    int64         // calls to the second suspend; 0: there is none
		away     time.Duration // for how long
	}{
		{"the initiator is moved", initiator, false, 0, 0},
		{"the initiator is moved and requests cross", initiator, true, 0, 0},
		{"the initiator is away for some time", initiator, false, 0, 3 * time.Second},
		{"the initiator is moved twice at once", initiator, false, 1, 0},
		{"the initiator is moved twice", initiator, false, 9, 0},
		{"the responder is moved", responder, false, 0, 0},
		{"the responder is moved and requests cross", responder, true, 0, 0},
		{"the responder is away for some time", responder, false, 0, 20 * time.Second},
		{"the responder is moved twice", responder, false, 5, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// Every step takes minutes; which ones are left out is another matter in
			// each of the cases.
			steps, stride := int64(i), int64(11)
			if testing.Short() {
				stride = 41
			}
			for suspendAt(t, tt.victim, tt.crossing, tt.away, steps+1, tt.after) {
				steps += stride
			}
			if steps < 100 {
				t.Errorf("only %d steps: is there anything brokered?", steps)
			}
			t.Logf("%d steps", steps)
		})
	}
}

// suspendAt suspends and resumes the victim at its call of that number, and again
// after so many more, and reports whether it makes so many.
func suspendAt(t *testing.T, victim party, crossing bool, away time.Duration, step, after int64) (there bool) {
	synctest.Test(t, func(t *testing.T) {
		r := newResumableTrio(t)
		before := r.heldByName()
		at := r.moveAt(victim, away, step, after)
		r.connect(crossing)
		time.Sleep(10*time.Second + away) // until it is linked again
		r.connect(crossing)
		time.Sleep(70 * time.Second)
		r.Hook(nil)
		time.Sleep(away)
		r.Xenstored().OnRequest(nil)
		synctest.Wait()
		there = at() != ""
		r.settle()
		if diff := cmp.Diff(before, r.heldByName()); diff != "" {
			t.Errorf("suspended at step %d (%s): held before and after (-before +after):\n%s", step, at(), diff)
		}
		for _, p := range []party{initiator, responder} {
			if err := r.nodes[p].ping(map[party]string{initiator: "b", responder: "a"}[p], 1000); err != nil {
				t.Errorf("suspended at step %d (%s): afterwards: %v", step, at(), err)
			}
		}
	})
	return there
}

// moveAt suspends the victim's domain at its calls of these numbers. The function
// that it returns says which call was the first, "" if it has not come yet.
func (r *trio) moveAt(victim party, away time.Duration, step, after int64) func() string {
	var calls atomic.Int64
	var at atomic.Pointer[string]
	n := r.nodes[victim]
	// Ports are unbound at moments in which nothing else happens.
	r.Xenstored().OnRequest(func(_ xen.DomID, op xenstore.Op, path string) error {
		if op == xenstore.OpWatch && path == "domid" {
			time.Sleep(333 * time.Nanosecond)
		}
		return nil
	})
	r.Hook(func(c *sim.Call) error {
		if c.Process != n.proc || c.Op == sim.OpClose || away > 0 && c.Op == sim.OpNotify {
			return nil // a notification is sent under a lock, over which no time passes here
		}
		call := calls.Add(1)
		if call != step && (after == 0 || call != step+after) {
			return nil
		}
		text := fmt.Sprint(c.Op)
		at.CompareAndSwap(nil, &text)
		if n.dom.Suspend() != nil {
			return nil // another goroutine has just done it
		}
		time.Sleep(away)
		if err := n.dom.Resume(); err != nil {
			r.t.Error(errors.Join(errors.New("resume"), err))
		}
		return nil
	})
	return func() string {
		if text := at.Load(); text != nil {
			return *text
		}
		return ""
	}
}
