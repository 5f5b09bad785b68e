package sim

import (
	"errors"
	"fmt"
	"time"

	"xvsock/grant"
	"xvsock/xen"
)

// DomainConfig is what xl's configuration file says of a domain.
type DomainConfig struct {
	Name string    // default: "domain-" and the number of the domain
	ID   xen.DomID // 0: the next one
	UUID string    // default: one that no other domain of this host has

	GrantLimit    int // gntalloc's limit in pages; 0: DefaultGrantLimit
	EventChannels int // ports that programs can have; 0: DefaultEventChannels
	// DriverDomain is xl's driver_domain=1: the domain may make nodes below its
	// own libxl and device-model directories.
	DriverDomain bool
}

// Domain is one domain of a Host. A *Domain is one life: Create makes a new one
// even where the id or the name was another's before. A restore keeps it and
// gives it a new id.
//
//	running <--Pause, Unpause--> paused
//	running --Suspend--> suspended --Resume--> running, with a new id
//	running, paused --Shutdown--> shut down (grants and ports stay)
//	any but suspended --Destroy--> destroyed
type Domain struct {
	host     *Host
	config   DomainConfig
	counters counters

	// All below is guarded by the host's mu.
	id        xen.DomID
	epoch     int           // counts restores
	resumed   time.Time     // the last one
	frozen    chan struct{} // closed when the domain runs again; nil while it runs
	suspended bool
	over      bool // shut down or destroyed
	destroyed bool
	processes map[*Process]struct{} // not those that were killed
	main      *Process
	table     table
	ports     map[xen.Port]*port
}

// Create makes a domain and its part of the xenstore, as xl create does. It
// panics if config asks for an id that is taken, or the host is closed: a test
// that does so is wrong.
func (h *Host) Create(config DomainConfig) *Domain {
	h.mu.Lock()
	id, err := h.claimID(config.ID)
	if err != nil {
		h.mu.Unlock()
		panic("sim: create domain: " + err.Error())
	}
	d := h.add(config, id)
	h.mu.Unlock()
	if err := h.introduce(d, id); err != nil {
		panic(fmt.Sprintf("sim: create domain %d: %v", id, err))
	}
	return d
}

// add makes the hypervisor's part of a domain. The caller holds mu for writing.
func (h *Host) add(config DomainConfig, id xen.DomID) *Domain {
	number := len(h.created)
	if config.Name == "" {
		config.Name = fmt.Sprintf("domain-%d", number)
	}
	if config.UUID == "" {
		config.UUID = fmt.Sprintf("00000000-0000-4000-8000-%012x", number)
	}
	if config.GrantLimit == 0 {
		config.GrantLimit = DefaultGrantLimit
	}
	if config.EventChannels == 0 {
		config.EventChannels = DefaultEventChannels
	}
	d := &Domain{
		host:      h,
		config:    config,
		id:        id,
		processes: make(map[*Process]struct{}),
		table:     table{entries: make(map[grant.Ref]*page), next: firstRef, limit: config.GrantLimit},
		ports:     make(map[xen.Port]*port),
	}
	h.domains[id] = d
	h.created = append(h.created, d)
	return d
}

// ID is the domain's id. It changes with a restore.
func (d *Domain) ID() xen.DomID {
	d.host.mu.RLock()
	defer d.host.mu.RUnlock()
	return d.id
}

// Name is the toolstack's name of the domain.
func (d *Domain) Name() string { return d.config.Name }

// UUID is the toolstack's uuid of the domain.
func (d *Domain) UUID() string { return d.config.UUID }

// Host is the host that the domain is on.
func (d *Domain) Host() *Host { return d.host }

// Granted returns the pages that count to the domain's limit.
func (d *Domain) Granted() int {
	d.host.mu.RLock()
	defer d.host.mu.RUnlock()
	return d.table.charged
}

// Stuck returns the pages that were revoked and cannot be freed because another
// domain still maps them. The real platform tells nobody this number.
func (d *Domain) Stuck() int {
	d.host.mu.RLock()
	defer d.host.mu.RUnlock()
	return d.table.stuck
}

// Ports returns how many event channels the domain's processes have, those
// included that only an unmap-notify holds.
func (d *Domain) Ports() int {
	d.host.mu.RLock()
	defer d.host.mu.RUnlock()
	return len(d.ports)
}

// Page returns the memory of the page that the domain has granted under ref, or
// nil, for tests that look or write behind the protocol's back (Poke, Peek).
func (d *Domain) Page(ref grant.Ref) []byte {
	d.host.mu.RLock()
	defer d.host.mu.RUnlock()
	if p := d.table.entries[ref]; p != nil {
		return p.mem
	}
	return nil
}

// Pause stops the domain's processors: calls of its processes wait. What others
// do with its pages and ports goes on.
func (d *Domain) Pause() {
	d.host.mu.Lock()
	defer d.host.mu.Unlock()
	if d.frozen == nil {
		d.frozen = make(chan struct{})
	}
}

// Unpause ends Pause.
func (d *Domain) Unpause() {
	d.host.mu.Lock()
	defer d.host.mu.Unlock()
	if !d.suspended {
		d.thaw()
	}
}

func (d *Domain) thaw() {
	if d.frozen != nil {
		close(d.frozen)
		d.frozen = nil
	}
}

// Shutdown stops the domain without destroying it, as on_poweroff="preserve"
// does: its processes are dead, with no kernel to clean up after them, and
// others can still copy its pages.
func (d *Domain) Shutdown() {
	d.host.mu.Lock()
	d.stop()
	id := d.id
	d.host.mu.Unlock()
	d.host.store.Shutdown(id)
}

func (d *Domain) stop() {
	d.over = true
	for p := range d.processes {
		p.dead = true
		p.wakeAll()
	}
	d.thaw()
}

// Destroy ends the domain as xl destroy does. Its kernel gets no chance to clean
// up, so no unmap-notify of its own pages fires: others learn of it from copies
// that fail with grant.StatusBadDomain, or from xenstore. Its pages stay alive
// while others map them, and so long its id is not used again.
func (d *Domain) Destroy() {
	h := d.host
	h.mu.Lock()
	if d.destroyed || d.suspended {
		h.mu.Unlock()
		return
	}
	d.destroyed = true
	d.stop()
	id := d.id
	h.mu.Unlock()
	h.removeNodes(d, id)
	h.mu.Lock()
	d.leaveHypervisor()
	h.mu.Unlock()
	h.store.Release(id)
}

// leaveHypervisor takes away all that Xen holds for the domain. The caller holds
// mu for writing.
func (d *Domain) leaveHypervisor() {
	h := d.host
	for _, pt := range d.ports {
		pt.close()
	}
	for p := range d.processes {
		p.leaveHypervisor()
	}
	left := &husk{id: d.id, size: d.table.size(), pages: make(map[grant.Ref]*page)}
	for ref, pg := range d.table.entries {
		if pg.stuck {
			d.table.release(pg)
		}
		delete(d.table.entries, ref)
		pg.husk = left
		left.pages[ref] = pg
		if pg.pins > 0 {
			left.pinned++
		}
	}
	delete(h.domains, d.id)
	if left.pinned > 0 {
		h.husks[d.id] = left
	}
}

// leaveHypervisor marks all that the process holds as of before, and lets go of
// what it maps.
func (p *Process) leaveHypervisor() {
	for m := range p.mappings {
		if !m.void {
			m.void = true
			for _, pg := range m.list {
				p.dom.host.unpin(pg)
			}
		}
	}
	for b := range p.pages {
		b.void = true
	}
	for e := range p.events {
		for c := range e.channels {
			c.void = true
		}
	}
}

// Suspend saves the domain and takes it off the host, as xl save does. Its
// processes stand still until Resume.
//
// Of the xenstore the domain's own nodes go at once. What it owns elsewhere, and
// the news of its end (@releaseDomain), go with Resume.
func (d *Domain) Suspend() error {
	h := d.host
	h.mu.Lock()
	if d.over || d.suspended {
		h.mu.Unlock()
		return errors.New("suspend: the domain does not run")
	}
	d.suspended = true
	if d.frozen == nil {
		d.frozen = make(chan struct{})
	}
	d.leaveHypervisor()
	id := d.id
	h.mu.Unlock()
	h.store.Suspend(id)
	h.removeNodes(d, id)
	return nil
}

// Resume restores a suspended domain: the same processes and memory, a new id, a
// new part of the xenstore. Every port, grant and mapping of before is void, and
// to touch one is misuse, except that pages may be revoked whose end sends no event,
// and for what newsTime forgives.
func (d *Domain) Resume() error { return d.ResumeAs(0) }

// ResumeAs is Resume with a certain id, which may be the one of before, as on another
// host; 0: the next one.
func (d *Domain) ResumeAs(want xen.DomID) error {
	h := d.host
	h.mu.Lock()
	if !d.suspended {
		h.mu.Unlock()
		return errors.New("resume: the domain is not suspended")
	}
	id, err := h.claimID(want)
	if err != nil {
		h.mu.Unlock()
		return fmt.Errorf("resume: %w", err)
	}
	old := d.id
	d.id, d.suspended = id, false
	d.epoch++
	d.resumed = time.Now()
	h.domains[id] = d
	h.mu.Unlock()
	if err := h.introduce(d, id); err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	h.store.Resume(old, id)
	if id != old {
		h.store.Release(old)
	} else {
		h.store.Shutdown(id) // whoever watches for domains is to look
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	d.thaw()
	return nil
}

// newsTime is how long after a restore a program may not know of it yet. Until then
// it may notify and unmask its old ports, which go nowhere, and try to bind on its
// old device, which fails: on the real platform a notification goes to whatever has
// the number now, and a bind costs a port. It may never unbind an old port, which is
// a kernel BUG, so a program unbinds only when it is sure that there was no restore.
const newsTime = time.Second

// unaware reports whether a program of the domain may not know yet of the last
// restore, or of the one to come. The caller holds mu.
func (d *Domain) unaware() bool {
	return d.suspended || d.epoch > 0 && time.Since(d.resumed) < newsTime
}
