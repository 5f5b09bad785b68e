package sim

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"sync"

	"xvsock/xen"
)

// stack is where something was made, for the report of a leak.
type stack [8]uintptr

// caller is the stack of whoever called into this package.
func caller() (s stack) {
	runtime.Callers(3, s[:])
	return s
}

// String names the first two callers outside of this package.
func (s stack) String() string {
	n := 0
	for n < len(s) && s[n] != 0 {
		n++
	}
	var at []string
	frames := runtime.CallersFrames(s[:n])
	for more := n > 0; more && len(at) < 2; {
		var f runtime.Frame
		f, more = frames.Next()
		if !strings.HasPrefix(f.Function, "xvsock/sim.") {
			at = append(at, fmt.Sprintf("%s (%s:%d)", f.Function, f.File, f.Line))
		}
	}
	return strings.Join(at, " < ")
}

// complaints are the calls that the real platform forgives or punishes at
// random, and this one does not.
type complaints struct {
	mu   sync.Mutex
	list []error
}

// maxComplaints bounds the list; the first ones tell what is wrong.
const maxComplaints = 100

func (h *Host) misuse(format string, args ...any) {
	c := &h.complaints
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.list) < maxComplaints {
		c.list = append(c.list, fmt.Errorf(format+", by %v", append(args, caller())...))
	}
}

// Misuse returns the misuses so far and forgets them: calls on channels that are
// closed or of before a restore, memory written after Revoke, names that are no
// domain's.
func (h *Host) Misuse() []error {
	h.mu.Lock()
	h.quarantine.check(h)
	h.mu.Unlock()
	c := &h.complaints
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.list
	c.list = nil
	return list
}

// notDomain records that a name which is no domain's came as far as a device,
// and is the error. To Xen 0x7FF0 is the caller itself and 0x7FF1 its own I/O
// domain: whoever takes an id from a peer has to refuse these before.
func (h *Host) notDomain(op string, id xen.DomID) error {
	h.misuse("%s with domain %#x, which is no domain id", op, uint16(id))
	return fmt.Errorf("%w: %v", xen.ErrDomID, id)
}

// quarantine keeps the last revoked pages, filled with a pattern, to see who
// writes to them after Revoke. The filling is an ordinary write, so that -race
// reports who uses them at the same time.
type quarantine struct {
	pattern []byte
	pages   []*page
}

const (
	quarantineByte = 0xDB
	quarantineSize = 256 // pages
)

// poison puts p into the quarantine. The caller holds mu for writing.
func (h *Host) poison(p *page) {
	q := &h.quarantine
	copy(p.mem, q.pattern)
	q.pages = append(q.pages, p)
	if len(q.pages) > quarantineSize {
		q.look(h, q.pages[0])
		q.pages = q.pages[1:]
	}
}

func (q *quarantine) look(h *Host, p *page) {
	if !bytes.Equal(p.mem, q.pattern) {
		h.misuse("page written after Revoke (granted to domain %d by %v)", p.to, p.block.creator)
	}
}

func (q *quarantine) check(h *Host) {
	for _, p := range q.pages {
		q.look(h, p)
	}
	q.pages = nil
}

// Leaks returns what the processes that still run have not given back: granted
// pages, mappings, event channels, xenstore connections. Empty means that all
// is as it was when they began.
func (h *Host) Leaks() []error {
	h.mu.RLock()
	defer h.mu.RUnlock()
	var leaks []error
	for _, d := range h.created {
		for p := range d.processes {
			if !p.dead {
				leaks = append(leaks, p.leaks()...)
			}
		}
	}
	return leaks
}

func (p *Process) leaks() []error {
	var leaks []error
	add := func(what string, n int, s stack) {
		leaks = append(leaks, fmt.Errorf("domain %d (%s): %s %d, made by %v", p.dom.id, p.dom.config.Name, what, n, s))
	}
	for b := range p.pages {
		add("granted pages not revoked:", len(b.list), b.creator)
	}
	for m := range p.mappings {
		add("pages still mapped:", len(m.list), m.creator)
	}
	for e := range p.events {
		for c := range e.channels {
			if !c.void {
				add("event channel not closed: port", int(c.num), c.creator)
			}
		}
	}
	for c := range p.stores {
		add("xenstore connections not closed:", 1, c.creator)
	}
	return leaks
}
