package image_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"xvsock/image"
	"xvsock/image/rig"
)

// The rules of a mapped pair: a and b may ping each other, and have a port for streams.
const (
	mapRules  = "echo,5000 a b allow%[1]s\necho b a allow\necho a flat allow%[1]s\n"
	mapAccess = " access=map"
	mapPort   = "5000"
)

// How long things may take. Other domains of the host are busy meanwhile, and each look is
// a command to a console: what is promised is 2 s for a reset. Without the rules that
// it is about, a connection would stand for a minute or more.
const (
	mapReset = 8 * time.Second
	mapAgain = 20 * time.Second // a link that comes back
)

// mapped is the life of the direct links of a PV domU whose rules have access=map.
func (h *xenHost) mapped() {
	p := h.newMapPair()
	for _, step := range []struct {
		name string
		run  func(*mapPair)
	}{
		{"without access=map both ends copy", (*mapPair).copies},
		{"with it both map, and what is moved is right", (*mapPair).maps},
		{"a domain that is not PV copies, and its peer with it", (*mapPair).flat},
		{"a restore resets the connections of a mapped link, and another is made", (*mapPair).restored},
		{"a destroyed peer resets them too, and goes for good", (*mapPair).destroyed},
	} {
		if !h.t.Run(step.name, func(t *testing.T) {
			p.xenHost = h.as(t)
			step.run(p)
		}) {
			p.tell(h.t)
			return // the next ones would fail for this one's reason
		}
	}
	h.Sh("xl destroy a")
	h.allow("")
}

// copies makes a link by rules that do not speak of access.
func (p *mapPair) copies() {
	p.link("copy", "")
	p.streams()
}

// maps makes a link by the same rules and access=map.
func (p *mapPair) maps() {
	p.link("map", mapAccess)
	p.streams()
}

// link makes a new link of a and b, which is to have that access, and looks at it from
// both ends.
func (p *mapPair) link(access, parameter string) {
	p.t.Helper()
	p.allow("") // a link stays what it is for as long as it lives
	p.unlinked(p.a)
	p.unlinked(p.b)
	p.allow(fmt.Sprintf(mapRules, parameter))
	p.linked(access)
}

// linked pings both ways, and looks at the link.
func (p *mapPair) linked(access string) {
	p.t.Helper()
	p.inUntil(p.a, "xvsock ping b", mapAgain, succeeded)
	p.inUntil(p.b, "xvsock ping a", mapAgain, succeeded)
	p.in(p.a, "xvsock ping --bytes 1048576 b")
	p.reads(p.a, "b", access)
	p.reads(p.b, "a", access)
}

// streams moves some MiB between two programs, both ways at once.
func (p *mapPair) streams() {
	p.t.Helper()
	const size = 4 << 20
	for _, d := range []*rig.Domain{p.a, p.b} {
		p.in(d, fmt.Sprintf("head -c %d /dev/urandom >/tmp/sent", size))
	}
	p.starts(p.b, "stream", "xvsock listen "+mapPort+" </tmp/sent >/tmp/got")
	p.inUntil(p.a, "xvsock connect b:"+mapPort+" </tmp/sent >/tmp/got", mapReset, succeeded)
	p.ended(p.b, "stream", "ended with 0")
	sums := func(d *rig.Domain) []string {
		return strings.Fields(p.in(d, "for f in sent got; do sha256sum </tmp/$f; done; rm /tmp/sent /tmp/got").Stdout)
	}
	a, b := sums(p.a), sums(p.b)
	if len(a) != 4 || len(b) != 4 || a[0] != b[2] || a[2] != b[0] || a[0] == a[2] {
		p.t.Errorf("a sent and got %q, b %q", a, b)
	}
}

// flat is a PVH domain, which would not notice that a mapping is void. It is a's rule that
// allows to map, and a that could.
func (p *mapPair) flat() {
	before := p.holds(p.a)
	p.must(p.OutliveEmulator(p.t.Context(), "flat", p.t.Logf, p.flatLife))
	p.leaves(p.a, before)
}

func (p *mapPair) flatLife(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	d, err := p.Create(ctx, rig.Guest{Name: "flat", Type: image.PVH, Ramdisk: p.ramdisk, Cmdline: "xvsock.service=echo"})
	if err != nil {
		return err
	}
	if _, err := p.serving(ctx, d, servedTime); err != nil {
		return err
	}
	p.inUntil(p.a, "xvsock ping --bytes 1048576 flat", mapAgain, succeeded)
	out, err := p.command(ctx, "xvsock peers -o json flat")
	if err != nil {
		return err
	}
	if l := linkOf(p.t, out, "a"); l.Access != "copy" {
		return fmt.Errorf("the PVH domain has the link %+v to a", l)
	}
	// What it had mapped is b's and nothing else.
	if l := p.toward(p.a, "flat"); l.Access != "copy" || p.holds(p.a).Theirs != p.toward(p.a, "b").Pages {
		p.t.Errorf("a has the link %+v to the PVH domain, and holds %+v", l, p.holds(p.a))
	}
	p.t.Logf("a to the PVH domain: %+v", p.toward(p.a, "flat"))
	_, err = p.command(ctx, "xl destroy flat")
	return err
}

// restored saves and restores a while connections of both ends move data. Its mappings
// are void then, which the daemon may learn by a fault.
func (p *mapPair) restored() {
	ctx, cancel := context.WithTimeout(p.t.Context(), 2*time.Minute)
	defer cancel()
	p.busy()
	before, held, who, generation := p.a, [2]footprint{p.holds(p.a), p.holds(p.b)}, p.daemon(p.a), p.toward(p.b, "a").Generation
	const file = "/tmp/map.save"
	p.must(p.a.Save(ctx, file))
	p.resets(p.b, "b, whose peer was saved", time.Now())
	p.ended(p.b, "stream", "ended with 1")
	p.vanishes(before)

	begin := time.Now()
	again, err := p.Restore(ctx, p.a, file, "")
	p.must(err)
	p.a = again
	p.resets(p.a, "a, which was restored", begin)
	p.ended(p.a, "stream", "ended with 1")
	p.t.Logf("a says: %s", p.in(p.a, "grep 'link is down' /tmp/daemon | tail -1").Stdout)
	if now := p.daemon(p.a); now != who {
		p.t.Errorf("the daemon of a was %s, now it is %s", who, now)
	}

	p.linked("map")
	if now := p.toward(p.b, "a").Generation; now == generation {
		p.t.Errorf("the link has generation %s of before the restore", now)
	}
	p.leaves(p.a, held[0])
	p.leaves(p.b, held[1])
	p.streams()
	p.sound()
	p.Sh("rm " + file)
}

// destroyed ends b while connections of both ends move data.
func (p *mapPair) destroyed() {
	p.busy()
	who := p.daemon(p.a)
	begin := time.Now()
	p.Sh("xl destroy b")
	p.resets(p.a, "a, whose peer was destroyed", begin)
	p.ended(p.a, "stream", "ended with 1")
	p.vanishes(p.b)
	if now := p.daemon(p.a); now != who {
		p.t.Errorf("the daemon of a was %s, now it is %s", who, now)
	}
	p.in(p.a, "xvsock ping @backend")
	p.leaves(p.a, p.first)
	p.sound()
}
