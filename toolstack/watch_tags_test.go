package toolstack_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/toolstack"
	"xvsock/xenbus"
)

// The table may be another one than when a domain was attached.
func TestWatchBringsTheTagsOfTheTable(t *testing.T) {
	for name, c := range map[string]struct {
		was, table []string
		again      bool
	}{
		"the same":          {[]string{"a", "b"}, []string{"a", "b"}, false},
		"in another order":  {[]string{"a", "b"}, []string{"b", "a"}, false},
		"one of them twice": {[]string{"a", "b"}, []string{"b", "a", "b"}, false},
		"none, as before":   {nil, nil, false},
		"one more":          {[]string{"a"}, []string{"a", "b"}, true},
		"one less":          {[]string{"a", "b"}, []string{"a"}, true},
		"none any more":     {[]string{"a"}, nil, true},
		"the first ones":    {nil, []string{"a"}, true},
		"other ones":        {[]string{"a"}, []string{"b"}, true},
		"one is another":    {[]string{"a", "b"}, []string{"a", "c"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.attach(r.back, c.was...)
				first := r.node(xenbus.BackPath(2, 1) + "/attachment")
				w := r.watch(toolstack.WatchConfig{Match: []string{"guest"}, Backend: "back", Tags: func(toolstack.Domain) []string { return c.table }})
				time.Sleep(time.Minute)
				if again := r.node(xenbus.BackPath(2, 1)+"/attachment") != first; again != c.again {
					t.Errorf("attached again: %v, want %v", again, c.again)
				}
				want := c.was
				if c.again {
					want = c.table
				}
				if got := r.node(xenbus.BackPath(2, 1) + "/tags"); got != strings.TrimSpace(strings.Join(want, " ")+" n0 r2") {
					t.Errorf("tags are %q, want %q", got, want)
				}
				if n := len(w.lines("msg=attached")); n > 1 {
					t.Errorf("attached %d times", n)
				}
			})
		})
	}
}

// A name that two domains have is nobody's: one could be given it to get at the
// other's tags.
func TestWatchGivesNoTagsByANameThatTwoDomainsHave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.rename(r.other, "guest")
		var asked []toolstack.Domain
		r.watch(toolstack.WatchConfig{Match: []string{"guest"}, Backend: "back", Tags: func(d toolstack.Domain) []string {
			asked = append(asked, d)
			return nil
		}})
		want := []toolstack.Domain{{ID: 1, UUID: r.guest.UUID()}, {ID: 3, UUID: r.other.UUID()}}
		if !slices.Equal(asked, want) {
			t.Errorf("asked for the tags of %v, want %v", asked, want)
		}
	})
}
