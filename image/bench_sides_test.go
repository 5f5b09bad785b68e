package image_test

import (
	"fmt"
	"strings"

	"xvsock/image/rig"
	"xvsock/vsock"
	"xvsock/xen"
)

// oursTo is the command that measures us, with what a shell is to do around it.
func oursTo(target, kind, flags, before, after string) string {
	return strings.TrimSpace(fmt.Sprintf("%s xvsock bench %s --case %s %s -o json%s", before, target, kind, flags, after))
}

// oursIs measures from a to b; oursOver to another domain.
func oursIs(kind, flags string) func(*benchHost, benchCase) measured {
	return oursOver("b", kind, flags)
}

func oursOver(target, kind, flags string) func(*benchHost, benchCase) measured {
	return func(h *benchHost, c benchCase) measured {
		m := h.measure(oursTo(target, kind, flags+" --time "+oneRun, "", ""))
		m.ring = c.setting.ring
		return m
	}
}

// oursByKernel measures from a to b by the AF_VSOCK sockets of their kernels.
func oursByKernel(kind, flags string) func(*benchHost, benchCase) measured {
	return func(h *benchHost, c benchCase) measured {
		return oursOver(fmt.Sprint(vsock.CIDOf(h.b.ID)), kind, flags+" --via vsock")(h, c)
	}
}

// vchan measures libxenvchan from a to b, vchanDom0 to dom0.
func vchan(kind string, size int, amount string, lot int) func(*benchHost, benchCase) measured {
	return func(h *benchHost, c benchCase) measured {
		return vchanBy(h, h.vchanServer(h.b, c.peerRing), c, fmt.Sprintf("%s %d %s %d", kind, size, amount, lot))
	}
}

func vchanDom0(kind string, size int, amount string, lot int) func(*benchHost, benchCase) measured {
	return func(h *benchHost, c benchCase) measured {
		return vchanBy(h, h.vchanServer(nil, c.peerRing), c, fmt.Sprintf("%s %d %s %d", kind, size, amount, lot))
	}
}

func vchanBy(h *benchHost, client string, c benchCase, what string) measured {
	m := h.measure(client + " " + what)
	m.ring = c.peerRing
	return m
}

// withoutRing keeps a side out of the chart of throughput by message size.
func withoutRing(side func(*benchHost, benchCase) measured) func(*benchHost, benchCase) measured {
	return func(h *benchHost, c benchCase) measured {
		m := side(h, c)
		m.ring = 0
		return m
	}
}

// vchanServer starts a server of libxenvchan for a, with rings of a size, if there is
// none yet, and gives what a client says of it. It runs in b, or, where b is nil, in dom0.
func (h *benchHost) vchanServer(d *rig.Domain, ring int) string {
	h.tb.Helper()
	id := xen.DomID(0)
	if d != nil {
		id = d.ID
	}
	path := fmt.Sprintf("/local/domain/%v/data/vchan-%d", id, ring)
	if server := fmt.Sprintf("vchan server %v %s %d", h.a.ID, path, ring); !h.servers[path] {
		if d == nil {
			h.Background(server)
		} else {
			h.in(d, "( "+server+" >>/tmp/vchan 2>&1 & )")
		}
		h.servers[path] = true
	}
	return fmt.Sprintf("vchan client %v %s %d", id, path, ring)
}

// ceilingRefs are the references of pages that b shares with a, in words.
func (h *benchHost) ceilingRefs() string {
	h.tb.Helper()
	if h.refs == "" {
		h.refs = strings.TrimSpace(h.in(h.b, fmt.Sprintf("( ceiling share %v >/tmp/refs 2>&1 & ); until test -s /tmp/refs; do sleep 0.05; done; cat /tmp/refs", h.a.ID)))
	}
	return h.refs
}
