package manager_test

import (
	"encoding/hex"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/manager"
	"xvsock/manager/port1"
)

// live is a link to g, as its other end lists it.
func live(g *guest, generation uint64) port1.Live {
	var l port1.Live
	b, _ := hex.DecodeString(strings.ReplaceAll(g.dom.UUID(), "-", ""))
	copy(l.UUID[:], b)
	l.Generation = generation
	return l
}

// gone lists whom the guest was told gone, and whether it was told more then.
func (g *guest) gone() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var b strings.Builder
	for _, p := range g.news {
		if p.Gone {
			b.WriteString(p.Domain.String() + " gone ")
		} else {
			b.WriteString(p.Domain.String() + " ")
		}
	}
	return strings.TrimSpace(b.String())
}

// After the manager was restarted, the frontends' HELLOs rebuild its picture. Links
// that only one end knows of are ended.
func TestHelloRebuildsThePicture(t *testing.T) {
	for name, c := range map[string]struct {
		a, b       []uint64 // generations of links that a and b say to have with each other
		toA, toB   string   // what they are told of each other
		linksAfter int
	}{
		"no link":                   {toA: "2", toB: "1"},
		"a link that both have":     {a: []uint64{5}, b: []uint64{5}, toA: "2", toB: "1", linksAfter: 1},
		"a link that one has":       {a: []uint64{5}, toA: "2 2 gone 2", toB: "1"},
		"a link that the other has": {b: []uint64{5}, toA: "2", toB: "1 gone 1"},
		"links that differ":         {a: []uint64{5}, b: []uint64{6}, toA: "2 2 gone 2", toB: "1 gone 1"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, true)
				r.policy("7 * * allow")
				a, b := newGuest(t, r.create("a")), newGuest(t, r.create("b"))
				for _, g := range c.a {
					a.claims = append(a.claims, live(b, g))
				}
				for _, g := range c.b {
					b.claims = append(b.claims, live(a, g))
				}
				time.Sleep(time.Second)
				a.front = r.frontend(a.dom, a.meet)
				a.up()
				b.front = r.frontend(b.dom, b.meet)
				b.up()
				time.Sleep(time.Second)
				if got := a.gone(); got != c.toA {
					t.Errorf("a is told %q, want %q", got, c.toA)
				}
				if got := b.gone(); got != c.toB {
					t.Errorf("b is told %q, want %q", got, c.toB)
				}
				for _, f := range r.manager.Frontends() {
					if len(f.Links) != c.linksAfter {
						t.Errorf("%v has links %v", f.Name, f.Links)
					}
				}
			})
		})
	}
}

func TestALinkThatWasBrokeredCountsForBoth(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		a, b, _ := r.trio()
		q := a.g.request(b.g.dom.ID(), 7)
		a.send(q)
		a.answer(q.ID)
		// a's front link forms again, and it has the link still.
		a.g.mu.Lock()
		a.g.claims = []port1.Live{live(b.g, q.Terms.Generation)}
		a.g.mu.Unlock()
		b.g.mu.Lock()
		b.g.news = nil
		b.g.mu.Unlock()
		a.conn.Close()
		a.g.up()
		synctest.Wait()
		if got := b.g.gone(); got != "" {
			t.Errorf("b is told %q", got)
		}
		// And again, without it: b is told.
		a.g.mu.Lock()
		a.g.claims = nil
		a.g.mu.Unlock()
		a.g.restart()
		a.g.up()
		time.Sleep(100 * time.Millisecond)
		if got := b.g.gone(); got != "1 gone 1" {
			t.Errorf("b is told %q", got)
		}
	})
}

// restart ends the guest's conversation from its side.
func (g *guest) restart() {
	g.mu.Lock()
	t := g.last
	g.mu.Unlock()
	t.conn.Close()
}

func TestALaterHelloOnlyCorrectsThePicture(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		a, b, _ := r.trio()
		r.linked(a, b)
		a.g.mu.Lock()
		a.g.news = nil
		a.g.mu.Unlock()
		a.send(port1.Hello{ID: 2, Links: []port1.Live{live(b.g, 77)}})
		time.Sleep(time.Second)
		if got := a.g.gone() + b.g.gone(); strings.Contains(got, "gone") {
			t.Errorf("they are told %q", got)
		}
		if s := r.status(a.g); len(s.Links) != 1 || s.Links[0] != (manager.PeerLink{Peer: b.g.dom.ID(), Generation: 77}) {
			t.Errorf("links are %v", s.Links)
		}
	})
}

func TestAManagerThatWasRestartedKnowsTheLinks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		a, b, _ := r.trio()
		q := a.g.request(b.g.dom.ID(), 7)
		a.send(q)
		a.answer(q.ID)
		a.g.mu.Lock()
		a.g.claims = []port1.Live{live(b.g, q.Terms.Generation)}
		a.g.mu.Unlock()
		b.g.mu.Lock()
		b.g.claims = []port1.Live{live(a.g, q.Terms.Generation)}
		b.g.mu.Unlock()
		r.kill()
		a.g.mu.Lock()
		a.g.news = nil
		a.g.mu.Unlock()
		time.Sleep(10 * time.Second)
		r.startManager()
		r.policy("7 * * allow")
		a.g.up()
		b.g.up()
		time.Sleep(time.Second)
		if got := a.g.gone(); strings.Contains(got, "gone") {
			t.Errorf("a is told %q", got)
		}
		if s := r.status(a.g); len(s.Links) != 1 {
			t.Errorf("links are %v", s.Links)
		}
	})
}
