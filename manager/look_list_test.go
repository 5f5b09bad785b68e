package manager

import (
	"slices"
	"testing"

	"xvsock/link"
	"xvsock/sim"
	"xvsock/xen"
	"xvsock/xenbus"
)

// When xenstore says of the directory of all devices that it has changed, which it may
// say of it alone, those that came and those that are gone are found by their names.
func TestComeAndGoneIsTheDifference(t *testing.T) {
	proc := sim.NewTest(t).Domain(0).NewProcess()
	store := proc.Xenstore()
	defer store.Close()
	d := newDesk(3, Budgets{})
	d.cfg.Domain = link.NewDomain(0, proc.Grants(), proc.Events(), store)
	for _, entry := range []string{"2", "3", "5", "nobody"} {
		if err := store.Write(t.Context(), xenbus.BackendsPath(0)+"/"+entry, ""); err != nil {
			t.Fatal(err)
		}
	}
	ids, err := d.comeAndGone(t.Context())
	if slices.Sort(ids); err != nil || !slices.Equal(ids, []xen.DomID{1, 5}) {
		t.Errorf("come and gone: %v, %v", ids, err)
	}
}
