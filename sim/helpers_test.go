package sim_test

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"xvsock/evtchn"
	"xvsock/grant"
	"xvsock/sim"
	"xvsock/xen"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair makes a host with two domains on it.
func pair(t *testing.T) (*sim.Host, *sim.Domain, *sim.Domain) {
	t.Helper()
	h := sim.NewTest(t)
	return h, h.Create(sim.DomainConfig{Name: "a"}), h.Create(sim.DomainConfig{Name: "b"})
}

func share(t *testing.T, from *sim.Process, to *sim.Domain, n int, access grant.Access) grant.Pages {
	t.Helper()
	p, err := from.Grants().Share(to.ID(), n, access)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Revoke() })
	return p
}

func mapped(t *testing.T, by *sim.Process, from *sim.Domain, refs []grant.Ref) grant.Mapping {
	t.Helper()
	m, err := by.Grants().Map(from.ID(), refs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Unmap() })
	return m
}

// connect makes a channel between two processes with no event pending.
func connect(t *testing.T, a, b *sim.Process) (ca, cb evtchn.Channel) {
	t.Helper()
	ca, err := a.Events().Unbound(b.Domain().ID())
	if err != nil {
		t.Fatal(err)
	}
	cb, err = b.Events().Interdomain(a.Domain().ID(), ca.Port())
	if err != nil {
		t.Fatal(err)
	}
	<-cb.Event()
	cb.Unmask()
	t.Cleanup(func() { ca.Close(); cb.Close() })
	return ca, cb
}

// read copies n bytes from a page.
func read(by *sim.Process, from xen.DomID, ref grant.Ref, offset, n int) (string, error) {
	seg := []grant.Segment{{Local: make([]byte, n), Domain: from, Ref: ref, Offset: offset}}
	err := by.Grants().Copy(seg)
	return string(seg[0].Local), err
}

func came(c evtchn.Channel) bool {
	select {
	case <-c.Event():
		return true
	default:
		return false
	}
}

// wantMisuse takes the one misuse that the test made on purpose.
func wantMisuse(t *testing.T, h *sim.Host, text string) {
	t.Helper()
	list := h.Misuse()
	if len(list) != 1 || !strings.Contains(list[0].Error(), text) {
		t.Fatalf("misuse %v, want one with %q", list, text)
	}
}
