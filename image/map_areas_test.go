package image_test

import (
	"fmt"
	"strings"

	"xvsock/image/rig"
)

// area is a part of a process's address space.
type area struct {
	first, end uint64
	mode, file string
}

// The files whose areas are granted pages: of others, and of the domain itself.
const (
	gntdevFile   = "/dev/xen/gntdev"
	gntallocFile = "/dev/xen/gntalloc"
)

// areas is the address space of a domU's daemon, by the word of its kernel.
func (p *mapPair) areas(d *rig.Domain) (all []area) {
	p.t.Helper()
	for line := range strings.Lines(p.in(d, "cat /proc/$(cat /tmp/pid)/maps").Stdout) {
		words := strings.Fields(line)
		if len(words) < 5 {
			continue
		}
		a := area{mode: words[1], file: strings.Join(words[5:], " ")}
		if _, err := fmt.Sscanf(words[0], "%x-%x", &a.first, &a.end); err != nil {
			continue // the kernel says something on the console
		}
		all = append(all, a)
	}
	if len(all) == 0 {
		p.t.Fatalf("the daemon of %s has no address space", d.Name)
	}
	return all
}

// tableSpan is how much of an address space one page of page tables maps.
const tableSpan = 2 << 20

// alone checks that nothing else is where a domU's daemon maps pages of others. xl save
// leaves out a page of page tables that maps pages of another domain, and with it
// whatever else it maps: after a restore private memory there reads as zeros.
func (p *mapPair) alone(d *rig.Domain) {
	p.t.Helper()
	all := p.areas(d)
	for _, m := range all {
		if m.file != gntdevFile {
			continue
		}
		first, end := m.first&^(tableSpan-1), (m.end+tableSpan-1)&^(tableSpan-1)
		for _, a := range all {
			reserved := strings.HasPrefix(a.mode, "---") // nothing is there
			if a.file != gntdevFile && !reserved && a.first < end && first < a.end {
				p.t.Errorf("in %s what is mapped at %x shares a page of page tables with %x-%x %s", d.Name, m.first, a.first, a.end, a.file)
			}
		}
	}
}
