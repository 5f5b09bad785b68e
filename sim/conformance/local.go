package conformance

import (
	"errors"
	"runtime/debug"
	"sync"
	"time"

	"xvsock/evtchn"
	"xvsock/grant"
	"xvsock/xen"
)

// Local is an End in this process.
type Local struct {
	id     xen.DomID
	grants grant.Device
	events evtchn.Binder
	exit   func()

	mu       sync.Mutex
	last     int
	pages    map[int]grant.Pages
	mappings map[int]grant.Mapping
	channels map[xen.Port]evtchn.Channel
}

// NewLocal returns an End over the devices of one process in domain id. exit
// makes that process die.
func NewLocal(id xen.DomID, grants grant.Device, events evtchn.Binder, exit func()) *Local {
	return &Local{
		id: id, grants: grants, events: events, exit: exit,
		pages:    make(map[int]grant.Pages),
		mappings: make(map[int]grant.Mapping),
		channels: make(map[xen.Port]evtchn.Channel),
	}
}

// ID implements End.
func (l *Local) ID() xen.DomID { return l.id }

// Close gives back all that requests left.
func (l *Local) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, m := range l.mappings {
		errs = append(errs, m.Unmap())
	}
	for _, p := range l.pages {
		errs = append(errs, p.Revoke())
	}
	for _, c := range l.channels {
		errs = append(errs, c.Close())
	}
	clear(l.mappings)
	clear(l.pages)
	clear(l.channels)
	return errors.Join(errs...)
}

// Do implements End.
func (l *Local) Do(q Request) Reply {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch q.Op {
	case Share, OnRevoke, ClearOnRevoke, Revoke, Store, Load, Copy, Map, Unmap:
		return l.doGrant(q)
	case Unbound, Interdomain, Exhaust:
		return l.doBind(q)
	case Notify, Wait, Unmask, Close:
		return l.doChannel(q)
	case Exit:
		l.exit()
		return Reply{}
	}
	return failed("unknown request %.20q", q.Op)
}

func (l *Local) doGrant(q Request) Reply {
	switch q.Op {
	case Share:
		p, err := l.grants.Share(q.Domain, q.N, q.Access)
		if err != nil {
			return Reply{Error: newError(err)}
		}
		l.last++
		l.pages[l.last] = p
		return Reply{Handle: l.last, Refs: p.Refs()}
	case Map:
		m, err := l.grants.Map(q.Domain, q.Refs)
		if err != nil {
			return Reply{Error: newError(err)}
		}
		l.last++
		l.mappings[l.last] = m
		return Reply{Handle: l.last}
	case Copy:
		err := l.grants.Copy(q.Segments)
		return Reply{Segments: q.Segments, Error: newError(err)}
	}
	if m, ok := l.mappings[q.Handle]; ok {
		return l.doMapping(q, m)
	}
	if p, ok := l.pages[q.Handle]; ok {
		return l.doPages(q, p)
	}
	return failed("no pages %d", q.Handle)
}

func (l *Local) doMapping(q Request, m grant.Mapping) Reply {
	switch q.Op {
	case Load:
		return load(m.Bytes(), q)
	case Store:
		return faulting(func() { copy(m.Bytes()[q.Offset:], q.Data) })
	case Unmap:
		return Reply{Error: newError(m.Unmap())}
	}
	return failed("%s of a mapping", q.Op)
}

// faulting is a request that may fault, which fails it.
func faulting(f func()) (r Reply) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if fault := recover(); fault != nil {
			r = failed("%v", fault)
		}
	}()
	f()
	return Reply{}
}

func (l *Local) doPages(q Request, p grant.Pages) Reply {
	switch q.Op {
	case Load:
		return load(p.Bytes(), q)
	case Store:
		copy(p.Bytes()[q.Offset:], q.Data)
		return Reply{}
	case OnRevoke:
		return Reply{Error: newError(p.OnRevoke(q.Offset, q.Port))}
	case ClearOnRevoke:
		return Reply{Error: newError(p.ClearOnRevoke(q.Offset))}
	case Revoke:
		return Reply{Error: newError(p.Revoke())}
	}
	return failed("%s of granted pages", q.Op)
}

func load(b []byte, q Request) Reply {
	return Reply{Data: append([]byte(nil), b[q.Offset:q.Offset+q.N]...)}
}

func (l *Local) doBind(q Request) Reply {
	var c evtchn.Channel
	var err error
	switch q.Op {
	case Unbound:
		c, err = l.events.Unbound(q.Domain)
	case Interdomain:
		c, err = l.events.Interdomain(q.Domain, q.Port)
	case Exhaust:
		return l.exhaust(q)
	}
	if err != nil {
		return Reply{Error: newError(err)}
	}
	l.channels[c.Port()] = c
	return Reply{Port: c.Port()}
}

func (l *Local) exhaust(q Request) Reply {
	for n := range q.N {
		c, err := l.events.Unbound(q.Domain)
		if err != nil {
			return Reply{N: n, Error: newError(err)}
		}
		defer c.Close()
	}
	return Reply{N: q.N}
}

func (l *Local) doChannel(q Request) Reply {
	c, ok := l.channels[q.Port]
	if !ok {
		return failed("no port %d", q.Port)
	}
	switch q.Op {
	case Notify:
		return Reply{Error: newError(c.Notify())}
	case Unmask:
		return Reply{Error: newError(c.Unmask())}
	case Close:
		return Reply{Error: newError(c.Close())}
	}
	select {
	case <-c.Event():
		return Reply{N: 1}
	case <-time.After(q.Patience):
		return Reply{}
	}
}
