package mux

import "testing"

// Whoever serves gives others their turn once it has woken their Writes, for with one
// processor they would wait until it sleeps; but not for its own.
func TestOneWhoServesYieldsToThoseItHasWoken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVictim(t, Config{})
		defer v.stop()
		mine, theirs, more := v.connect(1000), v.connect(1001), v.connect(1002)
		for _, c := range []struct {
			name  string
			woken []*Conn
			want  bool
		}{
			{"nobody", nil, false},
			{"itself", []*Conn{mine, mine}, false},
			{"another", []*Conn{theirs}, true},
			{"itself and another", []*Conn{mine, theirs}, true},
			{"two others", []*Conn{theirs, more}, true},
		} {
			if !v.s.duty.take() {
				t.Fatal("the duty is not free")
			}
			v.s.others = false
			v.s.withLock(func() {
				for _, w := range c.woken {
					w.stopWrite()
				}
			})
			if err := v.s.tidy(mine, false, clockTicks); err != nil {
				t.Fatal(err)
			}
			if v.s.others != c.want {
				t.Errorf("it has woken %s, and yields: %v", c.name, v.s.others)
			}
			v.s.duty.leave()
			settle(v.s)
		}
	})
}
