package evtchn

import (
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

// modelChannel is what a channel must do, in the words of the interface.
type modelChannel struct {
	c       Channel
	value   bool // one is there to receive
	masked  bool // an event came since the last Unmask
	pending bool // another came meanwhile
	open    bool
}

func (m *modelChannel) event() {
	switch {
	case !m.open:
	case m.masked:
		m.pending = true
	default:
		m.masked, m.value = true, true
	}
}

func (m *modelChannel) unmask() {
	again := m.masked && m.pending
	m.masked, m.pending = false, false
	if again {
		m.event()
	}
}

// bubbleTB hides Deadline, which must not be asked for inside a bubble.
type bubbleTB struct{ rapid.TB }

func TestAnySequenceOfEventsUnmasksAndClosesFollowsTheModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(bubbleTB{t}, func(r *rapid.T) {
			d := newFake()
			k, err := newKernel(d)
			if err != nil {
				r.Fatal(err)
			}
			var all []*modelChannel
			pick := func() *modelChannel {
				if len(all) == 0 {
					r.Skip("no channel yet")
				}
				return rapid.SampledFrom(all).Draw(r, "channel")
			}
			r.Repeat(map[string]func(*rapid.T){
				"bind": func(r *rapid.T) {
					c, err := k.Unbound(3)
					if err != nil {
						r.Fatal(err)
					}
					all = append(all, &modelChannel{c: c, open: true})
				},
				"bind to another": func(r *rapid.T) {
					c, err := k.Interdomain(3, 9)
					if err != nil {
						r.Fatal(err)
					}
					m := &modelChannel{c: c, open: true}
					m.event() // Xen leaves one pending
					all = append(all, m)
				},
				"event": func(r *rapid.T) {
					m := pick()
					if m.open {
						d.event(m.c.Port())
						m.event()
					}
				},
				"receive": func(r *rapid.T) {
					m := pick()
					if has := got(m.c); has != m.value {
						r.Fatalf("port %d: received=%v, want %v", m.c.Port(), has, m.value)
					}
					m.value = false
				},
				"unmask": func(r *rapid.T) {
					m := pick()
					if err := m.c.Unmask(); (err == nil) != m.open {
						r.Fatalf("unmask with open=%v: %v", m.open, err)
					}
					if m.open {
						m.unmask()
					}
				},
				"close": func(r *rapid.T) {
					m := pick()
					if err := m.c.Close(); err != nil {
						r.Fatal(err)
					}
					m.open = false
				},
				"": func(r *rapid.T) { synctest.Wait() },
			})
			if err := k.Close(); err != nil {
				r.Fatal(err)
			}
			if len(d.violations) != 0 {
				r.Fatal(d.violations)
			}
		})
	})
}
