package image_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"xvsock/image/rig"
	"xvsock/xen"
)

// mapPair is two PV domUs with a daemon in each.
type mapPair struct {
	*xenHost
	a, b  *rig.Domain
	first footprint // of a, without a link to a peer
}

// newMapPair boots both at once.
func (h *xenHost) newMapPair() *mapPair {
	h.t.Helper()
	ramdisk := filepath.Join(h.t.TempDir(), "shell.cpio")
	h.must(rig.WriteShellImage(h.Parts, rig.ShellImage{
		Output: ramdisk, Files: map[string]string{"/usr/bin/xvsock": h.binary},
		Before: "xvsock domain --service echo 2>/tmp/daemon &\necho $! >/tmp/pid",
	}))
	p := &mapPair{xenHost: h}
	p.a = h.Guest(rig.Guest{Name: "a", Ramdisk: ramdisk})
	p.b = h.Guest(rig.Guest{Name: "b", Ramdisk: ramdisk})
	h.served(p.a)
	h.served(p.b)
	p.first = p.holds(p.a)
	return p
}

// footprint is what a domain holds for its links, by the word of its kernel and of Xen:
// what the daemon says of itself would not know of what it has forgotten.
type footprint struct {
	Theirs int // pages of other domains that the daemon has mapped
	Ours   int // pages that it has granted
	Ports  int // event channels of the domain
}

// holds counts what a domain holds.
func (p *mapPair) holds(d *rig.Domain) (f footprint) {
	p.t.Helper()
	for _, a := range p.areas(d) {
		switch n := int(a.end-a.first) / xen.PageSize; a.file {
		case gntdevFile:
			f.Theirs += n
		case gntallocFile:
			f.Ours += n
		}
	}
	f.Ports = strings.Count(p.Sh(fmt.Sprintf("lsevtchn %v", d.ID)), "\n")
	return f
}

// leaves waits until a domain holds what it held before: ports are unbound a second
// after their link.
func (p *mapPair) leaves(d *rig.Domain, before footprint) {
	p.t.Helper()
	for deadline := time.Now().Add(mapReset); ; {
		now := p.holds(d)
		if now == before {
			p.t.Logf("%s holds %+v", d.Name, now)
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s holds %+v, before %+v", d.Name, now, before)
		}
	}
}

// vanishes waits until Xen has forgotten a domain that has ended. It has not for as long
// as somebody maps pages of it.
func (p *mapPair) vanishes(d *rig.Domain) {
	p.t.Helper()
	begin := time.Now()
	p.until(fmt.Sprintf("! xl list %v 2>&1", d.ID), mapReset, func(string) bool { return true })
	p.t.Logf("domain %v (%s) has gone after %v", d.ID, d.Name, time.Since(begin).Round(time.Millisecond))
}

// mapLink is what a daemon says of a link.
type mapLink struct {
	direct
	Access string
}

// linkOf takes the link to a peer out of what `xvsock peers -o json` gave; the zero value
// if there is none.
func linkOf(t *testing.T, out, peer string) mapLink {
	t.Helper()
	var all []mapLink
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	for _, l := range all {
		if l.Name == peer {
			return l
		}
	}
	return mapLink{}
}

// toward is a domU's link to a peer.
func (p *mapPair) toward(d *rig.Domain, peer string) mapLink {
	p.t.Helper()
	return linkOf(p.t, p.in(d, "xvsock peers -o json").Stdout, peer)
}

// unlinked waits until a domU has no link to a peer.
func (p *mapPair) unlinked(d *rig.Domain) {
	p.t.Helper()
	p.inUntil(d, "xvsock peers -o json", mapReset, func(r rig.Result) bool {
		return r.Code == 0 && !strings.Contains(r.Stdout, `"kind": "peer"`)
	})
}

// reads checks how a domU reads what its only peer sends, by its daemon's word and by
// what that has mapped.
func (p *mapPair) reads(d *rig.Domain, peer, access string) {
	p.t.Helper()
	l, f, pages := p.toward(d, peer), p.holds(d), 0
	if access == "map" {
		pages = l.Pages // the peer grants as many
	}
	if l.Access != access || l.Pages == 0 || f.Theirs != pages {
		p.t.Fatalf("%s has the link %+v to %s, and holds %+v: want access %q, and %d pages mapped", d.Name, l, peer, f, access, pages)
	}
	p.alone(d)
	p.t.Logf("%s to %s: %+v, %+v", d.Name, peer, l, f)
}

// busy starts three connections that move data without an end: one of two programs, and
// one of each daemon's own.
func (p *mapPair) busy() {
	p.t.Helper()
	const ping = "xvsock ping --bytes 1073741824 "
	p.starts(p.b, "stream", "xvsock listen -v "+mapPort+" </dev/zero >/dev/null")
	p.inUntil(p.b, "test -s /tmp/stream", mapReset, succeeded) // it says when it listens
	p.starts(p.a, "stream", "xvsock connect b:"+mapPort+" </dev/zero >/dev/null")
	p.starts(p.b, "ping", ping+"a")
	p.starts(p.a, "ping", ping+"b")
	for _, way := range []struct {
		from *rig.Domain
		peer string
	}{{p.a, "b"}, {p.b, "a"}} {
		p.inUntil(way.from, "xvsock peers -o json", mapReset, func(r rig.Result) bool {
			l := linkOf(p.t, r.Stdout, way.peer)
			return l.Access == "map" && l.Connections == 3
		})
	}
	for _, d := range []*rig.Domain{p.a, p.b} {
		if r := p.in(d, "grep 'ended with' /tmp/stream /tmp/ping"); r.Code == 0 {
			p.t.Fatalf("what was to go on in %s has ended: %s", d.Name, r.Stdout)
		}
	}
}

// starts runs a command in a domU that goes on by itself. Its errors are in /tmp/NAME, and
// then how it ended.
func (p *mapPair) starts(d *rig.Domain, name, command string) {
	p.t.Helper()
	p.in(d, fmt.Sprintf("( %[2]s 2>/tmp/%[1]s; echo ended with $? >>/tmp/%[1]s ) &", name, command))
}

// ended waits until such a command has said these words and ended. The kernel may say
// something on the console in the middle of the answer; then it is asked again.
func (p *mapPair) ended(d *rig.Domain, name string, words ...string) string {
	p.t.Helper()
	words = append(words, "ended with")
	r := p.inUntil(d, "cat /tmp/"+name+"; echo wanted: '"+strings.Join(words, ", ")+"' >&2", mapReset, func(r rig.Result) bool {
		text, _, _ := strings.Cut(r.Stdout, "wanted: ")
		return containsAll(text, words)
	})
	text, _, _ := strings.Cut(r.Stdout, "wanted: ")
	return strings.TrimSpace(text)
}

// resets waits until the ping of a domU that is busy has ended, and checks that it did by
// a reset.
func (p *mapPair) resets(d *rig.Domain, who string, since time.Time) {
	p.t.Helper()
	text := p.ended(d, "ping", "connection reset")
	p.t.Logf("%s, after %v: %s", who, time.Since(since).Round(time.Millisecond), text)
}

// daemon says which process the daemon of a domU is, of which boot.
func (p *mapPair) daemon(d *rig.Domain) string {
	p.t.Helper()
	r := p.inUntil(d, "pid=$(cat /tmp/pid); cut -d' ' -f1,2,22 /proc/$pid/stat && cat /proc/sys/kernel/random/boot_id", mapReset, succeeded)
	return strings.Join(strings.Fields(r.Stdout), " ")
}

// sound looks for a fault that was not seen as one, in either domU's kernel or daemon. A
// PV kernel has warnings for who unmaps what is void, of each page, as Xen does not know its
// mapping: these are known.
func (p *mapPair) sound() {
	p.t.Helper()
	p.must(healthy(p.a.Console().String()))
	p.must(healthy(p.b.Console().String()))
	const known = "-e drivers/xen/gntdev.c -e arch/x86/xen/multicalls.c"
	if r := p.in(p.a, "dmesg | grep -E 'WARNING:|already-free IRQ|Bad (rss|page)' | grep -v "+known); r.Code == 0 {
		p.t.Errorf("the kernel of a says: %s", r.Stdout)
	}
	if r := p.in(p.a, "grep -E 'goroutine |unexpected fault|by a bug|level=ERROR' /tmp/daemon"); r.Code == 0 {
		p.t.Errorf("the daemon of a says: %s", r.Stdout)
	}
}

// tell shows what the daemons have said, after a failure.
func (p *mapPair) tell(t *testing.T) {
	for _, d := range []*rig.Domain{p.a, p.b} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		r, err := d.Sh(ctx, "tail -n 50 /tmp/daemon | cut -c1-300; grep -m 1 -B 20 -A 60 -E '^(panic|fatal error|unexpected fault|SIG)' /tmp/daemon; "+
			"head -n 20 /tmp/ping /tmp/stream; xvsock peers")
		cancel()
		t.Logf("%s (%v):\n%s", d.Name, err, r.Stdout)
	}
}
