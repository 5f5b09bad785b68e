package payload

import (
	"errors"
	"testing"
	"time"
)

func TestOnlyAProgramThatCannotWorkEndsItsService(t *testing.T) {
	type end struct {
		domain uint16
		failed bool
		took   time.Duration
		own    bool
	}
	fails := func(domain uint16) end { return end{domain, true, 10 * time.Millisecond, true} }
	works := func(domain uint16) end { return end{domain, false, 10 * time.Millisecond, true} }
	row := func(e end, n int) (all []end) {
		for range n {
			all = append(all, e)
		}
		return all
	}
	for name, test := range map[string]struct {
		ends []end
		want bool // that the last of them ends the service
	}{
		"four in a row":                          {row(fails(5), 4), false},
		"five in a row":                          {row(fails(5), 5), true},
		"one that works between":                 {append(append(row(fails(5), 4), works(5)), row(fails(5), 4)...), false},
		"failures in which the peers had a part": {row(end{5, true, time.Millisecond, false}, 50), false},
		"long lives that fail":                   {row(end{5, true, 2 * time.Second, true}, 50), false},
		"one domain's, while another's work":     {append([]end{works(6)}, row(fails(5), 50)...), false},
		"two domains', while a third's work":     {append([]end{works(6), fails(7)}, row(fails(5), 4)...), true},
		"also of the domain for which it worked": {append([]end{works(6), fails(6)}, row(fails(5), 4)...), true},
	} {
		f := &faults{}
		for i, e := range test.ends {
			var err error
			if e.failed {
				err = errors.New("exit status 1")
			}
			got := f.note(e.domain, err, e.took, e.own)
			if last := i == len(test.ends)-1; (got != nil) != (last && test.want) {
				t.Errorf("%s: after %d: %v", name, i+1, got)
			}
			if err != nil && f.Faults() != err {
				t.Errorf("%s: Faults() = %v", name, f.Faults())
			}
		}
	}
	f := &faults{}
	for life := range 3 { // each needs its own five
		f.begin()
		for i := range 5 {
			if got := f.note(5, errors.New("x"), 0, true); (got != nil) != (i == 4) {
				t.Errorf("life %d, failure %d: %v", life, i, got)
			}
		}
	}
}
