package xenstored_test

import (
	"testing"

	"xvsock/sim/xenstored"
	"xvsock/xen"
	"xvsock/xenstore"
)

func TestWhoIsToldOfAChange(t *testing.T) {
	private := xenstore.Permission{Domain: 5}
	reader := xenstore.Permission{Domain: 6, Read: true}
	for _, c := range []struct {
		name        string
		above, node []xenstore.Permission
		change      func(t *testing.T, c *xenstore.Client, node string) error
		told        bool
	}{
		{"a write to what may be read", list(private), list(private, reader), writeNode, true},
		{"a write to what may not be read", list(private), list(private), writeNode, false},
		{"a write below what may be read", list(private, reader), list(private), writeNode, true},
		{"a removal of what may be read", list(private), list(private, reader), removeNode, true},
		{"a removal of what may not be read", list(private), list(private), removeNode, false},
		{"a removal in a transaction of what may be read", list(private), list(private, reader), removeInTransaction, true},
		{"a removal in a transaction of what may not be read", list(private), list(private), removeInTransaction, false},
		{"the loss of the right to read", list(private), list(private, reader), permit(private), true},
		{"the gain of the right to read", list(private), list(private), permit(private, reader), true},
		{"other permissions of what may not be read", list(private), list(private), permit(private, xenstore.Permission{Domain: 7, Read: true}), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *xenstored.Server) {
				five, six := connect(t, s, 5), connect(t, s, 6)
				above, node := data5+"/above", data5+"/above/node"
				must(t, five.Write(t.Context(), node, "1"))
				must(t, five.SetPermissions(t.Context(), above, c.above...))
				must(t, five.SetPermissions(t.Context(), node, c.node...))
				w := watch(t, six, node)
				must(t, c.change(t, five, node))
				want(t, fired(w), c.told)
			})
		})
	}
}

func list(p ...xenstore.Permission) []xenstore.Permission { return p }

func writeNode(t *testing.T, c *xenstore.Client, node string) error {
	return c.Write(t.Context(), node, "2")
}

func removeNode(t *testing.T, c *xenstore.Client, node string) error {
	return c.Remove(t.Context(), node)
}

func removeInTransaction(t *testing.T, c *xenstore.Client, node string) error {
	return c.Transaction(t.Context(), func(tx *xenstore.Tx) error { return tx.Remove(t.Context(), node) })
}

func permit(p ...xenstore.Permission) func(*testing.T, *xenstore.Client, string) error {
	return func(t *testing.T, c *xenstore.Client, node string) error {
		return c.SetPermissions(t.Context(), node, p...)
	}
}

// In a transaction too, a watch above what was removed is told of that alone, and
// of a node that was removed and made again once, as of a whole.
func TestEventsOfATransaction(t *testing.T) {
	s := newHost(t)
	five := connect(t, s, 5)
	must(t, five.Write(t.Context(), data5+"/a/b", "1"))
	r := newRaw(t, s.Connect(5))
	r.ask(xenstore.OpWatch, 0, "data\x00t\x00")
	r.next()
	r.next()
	must(t, five.Transaction(t.Context(), func(tx *xenstore.Tx) error { return tx.Remove(t.Context(), data5+"/a") }))
	want(t, r.next(), `watch event "data/a\x00t\x00"`)
	r.quiet()

	must(t, five.Write(t.Context(), data5+"/a/b", "1"))
	want(t, r.next(), `watch event "data/a/b\x00t\x00"`)
	must(t, five.Transaction(t.Context(), func(tx *xenstore.Tx) error {
		must(t, tx.Remove(t.Context(), data5+"/a"))
		return tx.Write(t.Context(), data5+"/a/b", "2")
	}))
	got := map[string]bool{r.next(): true, r.next(): true}
	if !got[`watch event "data/a\x00t\x00"`] || !got[`watch event "data/a/b\x00t\x00"`] {
		t.Fatalf("events are %v", got)
	}
	r.quiet()
}

func TestADomainOwnsWhatItMakes(t *testing.T) {
	s := newHost(t)
	five, six := connect(t, s, 5), connect(t, s, 6)
	must(t, five.Write(t.Context(), data5+"/a", "1"))
	share(t, five, data5+"/a", 5, 6)
	must(t, six.Write(t.Context(), data5+"/a/b", "1"))
	got, err := six.GetPermissions(t.Context(), data5+"/a/b")
	must(t, err)
	want(t, got[0], xenstore.Permission{Domain: xen.DomID(6), Read: true})
	want(t, got[1], xenstore.Permission{Domain: xen.DomID(6), Read: true, Write: true})
	// Domain 5 may remove it with what is above, which is its own.
	must(t, five.Remove(t.Context(), data5+"/a"))
	want(t, s.Usage(6).Nodes, 1)
}
