package sim

import (
	"maps"
	"slices"

	"xvsock/grant"
)

// Process is one program in a domain and the devices that it has open: gntalloc,
// gntdev, evtchn, xenbus. Several can run in one domain, and after a Kill the
// domain goes on and may start another.
type Process struct {
	dom     *Domain
	grants  Grants
	current *Events

	// All below is guarded by the host's mu.
	dead     bool
	pages    map[*pages]struct{}
	mappings map[*mapping]struct{}
	events   map[*Events]struct{}
	stores   map[*storeConn]struct{}
}

// NewProcess starts a process. In a domain that is gone it is dead from the start.
func (d *Domain) NewProcess() *Process {
	d.host.mu.Lock()
	defer d.host.mu.Unlock()
	return d.newProcess()
}

func (d *Domain) newProcess() *Process {
	p := &Process{
		dom:      d,
		pages:    make(map[*pages]struct{}),
		mappings: make(map[*mapping]struct{}),
		events:   make(map[*Events]struct{}),
		stores:   make(map[*storeConn]struct{}),
	}
	p.grants.proc = p
	p.dead = d.over
	if !p.dead {
		d.processes[p] = struct{}{}
	}
	p.openEvents()
	return p
}

// Process returns the domain's daemon: always the same process until it is
// killed, then a new one.
func (d *Domain) Process() *Process {
	d.host.mu.Lock()
	defer d.host.mu.Unlock()
	if d.main == nil || d.main.dead {
		d.main = d.newProcess()
	}
	return d.main
}

// Domain returns the domain that the process runs in.
func (p *Process) Domain() *Domain { return p.dom }

// Grants returns the process's gntalloc and gntdev.
func (p *Process) Grants() grant.Device { return &p.grants }

// Events returns the process's event channel device.
func (p *Process) Events() *Events {
	p.dom.host.mu.RLock()
	defer p.dom.host.mu.RUnlock()
	return p.current
}

// OpenEvents opens the event channel device once more, as a program must after a
// restore, and makes it the one that Events returns.
func (p *Process) OpenEvents() *Events {
	p.dom.host.mu.Lock()
	defer p.dom.host.mu.Unlock()
	return p.openEvents()
}

func (p *Process) openEvents() *Events {
	e := &Events{proc: p, channels: make(map[*Channel]struct{}), creator: caller(), epoch: p.dom.epoch}
	p.events[e] = struct{}{}
	p.current = e
	return e
}

// wakeAll lets the goroutines that waited for a dead process's events find out.
// It is for the tests only: in truth they end with the process.
func (p *Process) wakeAll() {
	for e := range p.events {
		for c := range e.channels {
			c.wake()
		}
	}
}

// Kill ends the process as SIGKILL does. Its kernel cleans up: every granted page
// is revoked, with its unmap-notify; mappings and ports go; the xenstore
// connection is closed and its watches with it. The domain goes on. That its device
// is closed with ports of before a restore is misuse, unless Keep was called.
func (p *Process) Kill() {
	h := p.dom.host
	h.mu.Lock()
	// A connection takes itself out of the map when it is closed.
	stores := slices.Collect(maps.Keys(p.stores))
	if !p.dead {
		p.wakeAll()
		for b := range p.pages {
			b.end()
		}
		for m := range p.mappings {
			m.end()
		}
		for e := range p.events {
			e.end()
		}
		p.dead = true
		delete(p.dom.processes, p)
	}
	h.mu.Unlock()
	for _, c := range stores {
		c.Close()
	}
}

// end is the kernel closing the device of a process that ends. The caller holds mu
// for writing.
func (e *Events) end() {
	void := 0
	for c := range e.channels {
		if c.void {
			void++
			continue
		}
		if !e.kept {
			c.end()
		}
	}
	if void > 0 && !e.kept {
		e.proc.dom.host.misuse("process ends with %d ports of before the restore", void)
	}
}
