package xenstored_test

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"xvsock/sim/xenstored"
	"xvsock/xen"
	"xvsock/xenstore"
)

// once runs a transaction whose first attempt is interrupted, and returns how
// often it ran.
func once(t *testing.T, c *xenstore.Client, first func(), body func(tx *xenstore.Tx) error) int {
	t.Helper()
	runs := 0
	must(t, c.Transaction(t.Context(), func(tx *xenstore.Tx) error {
		runs++
		if err := body(tx); err != nil {
			return err
		}
		if runs == 1 {
			first()
		}
		return nil
	}))
	return runs
}

func TestWhatConflictsWithWhat(t *testing.T) {
	type tx = *xenstore.Tx
	for _, c := range []struct {
		name    string
		inside  func(t *testing.T, x tx) error
		outside func(t *testing.T, c *xenstore.Client) error
		runs    int
	}{
		{"a read and a write of the node", readIn("/a"), writeOut("/a"), 2},
		{"a read and a removal", readIn("/a"), removeOut("/a"), 2},
		{"a missing node and its making", missIn("/none"), writeOut("/none"), 2},
		{"a write and a write", writeIn("/a"), writeOut("/a"), 2},
		{"two new nodes below one", writeIn("/new1"), writeOut("/new2"), 2},
		{"nodes that have nothing in common", writeIn("/a"), writeOut("/b"), 1},
		{"a read and a write below", readIn("/a"), writeOut("/a/c"), 1 + 1}, // the list of names is a's
		{"a read below and a write above", readIn("/a/old"), writeOut("/a"), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newHost(t)
			one, two := connect(t, s, 5), connect(t, s, 5)
			for _, path := range []string{"/a", "/a/old", "/b"} {
				must(t, one.Write(t.Context(), data5+path, "1"))
			}
			runs := once(t, one, func() { must(t, c.outside(t, two)) }, func(x tx) error { return c.inside(t, x) })
			want(t, runs, c.runs)
		})
	}
}

func readIn(path string) func(*testing.T, *xenstore.Tx) error {
	return func(t *testing.T, x *xenstore.Tx) error {
		if _, err := x.Read(t.Context(), data5+path); err != nil && !isMissing(err) {
			return err
		}
		return nil
	}
}

func isMissing(err error) bool { return strings.Contains(err.Error(), syscall.ENOENT.Error()) }

func missIn(path string) func(*testing.T, *xenstore.Tx) error { return readIn(path) }

func writeIn(path string) func(*testing.T, *xenstore.Tx) error {
	return func(t *testing.T, x *xenstore.Tx) error { return x.Write(t.Context(), data5+path, "in") }
}

func writeOut(path string) func(*testing.T, *xenstore.Client) error {
	return func(t *testing.T, c *xenstore.Client) error { return c.Write(t.Context(), data5+path, "out") }
}

func removeOut(path string) func(*testing.T, *xenstore.Client) error {
	return func(t *testing.T, c *xenstore.Client) error { return c.Remove(t.Context(), data5+path) }
}

func TestNodeQuota(t *testing.T) {
	s := newHost(t)
	five, dom0 := connect(t, s, 5), connect(t, s, 0)
	for i := range 30 { // not all in one directory, for its size has a quota too
		must(t, five.Mkdir(t.Context(), fmt.Sprint(data5, "/", i)))
		for j := range 32 {
			must(t, five.Mkdir(t.Context(), fmt.Sprint(data5, "/", i, "/", j)))
		}
	}
	used := s.Usage(5).Nodes
	want(t, used, 1+30*33)
	for i := range 1000 - used {
		must(t, five.Mkdir(t.Context(), fmt.Sprint(data5, "/x", i)))
	}
	wantError(t, five.Mkdir(t.Context(), data5+"/y"), xenstore.ErrQuota)
	must(t, five.Remove(t.Context(), data5+"/0/0"))
	must(t, five.Remove(t.Context(), data5+"/0/1"))
	wantError(t, five.Mkdir(t.Context(), data5+"/p/q/r"), xenstore.ErrQuota)
	_, err := five.Read(t.Context(), data5+"/p")
	wantError(t, err, fs.ErrNotExist)
	// In a transaction the commit tells.
	err = five.Transaction(t.Context(), func(tx *xenstore.Tx) error {
		for i := range 3 {
			must(t, tx.Mkdir(t.Context(), fmt.Sprint(data5, "/t", i)))
		}
		return nil
	})
	wantError(t, err, xenstore.ErrQuota)
	want(t, s.Usage(5).Nodes, 998)
	// Domain 0 has no quota, not even for nodes of others.
	must(t, dom0.Write(t.Context(), data5+"/p/q/r", strings.Repeat("x", 4000)))
}

func TestTransactionQuota(t *testing.T) {
	s := newHost(t)
	r := newRaw(t, s.Connect(5))
	for i := range 11 {
		r.ask(xenstore.OpTransactionStart, 0, "\x00")
		want(t, r.next(), fmt.Sprintf(`start transaction "%d\x00"`, i+1))
	}
	r.ask(xenstore.OpTransactionStart, 0, "\x00")
	want(t, r.next(), `error "ENOSPC\x00"`)
	r.ask(xenstore.OpTransactionStart, 3, "\x00")
	want(t, r.next(), `error "EBUSY\x00"`)
	r.ask(xenstore.OpTransactionEnd, 3, "F\x00")
	want(t, r.next(), `end transaction "OK\x00"`)
	want(t, s.Usage(5).Transactions, 10)
	r.Close()
	want(t, s.Usage(5).Transactions, 0)
}

// TestStoreAgainstModel does random things in and outside of transactions and
// compares the store with a map. The transactions here meet no conflict.
func TestStoreAgainstModel(t *testing.T) {
	names := []string{"a", "b", "a/a", "a/b", "b/a", "a/a/a"}
	rapid.Check(t, func(rt *rapid.T) {
		s := xenstored.New()
		defer s.Close()
		s.Introduce(5)
		dom0 := xenstore.New(s.Connect(0), xenstore.Config{})
		defer dom0.Close()
		const base = "/local/domain/5"
		ctx := t.Context()
		check := func(err error) {
			if err != nil {
				rt.Fatal(err)
			}
		}
		check(dom0.Mkdir(ctx, base))
		check(dom0.SetPermissions(ctx, base, xenstore.Permission{Domain: 5}))
		five := xenstore.New(s.Connect(5), xenstore.Config{})
		defer five.Close()

		model := map[string]string{}
		step := func(do verbs, m map[string]string) {
			name := rapid.SampledFrom(names).Draw(rt, "name")
			path := base + "/" + name
			switch rapid.SampledFrom([]string{"write", "mkdir", "remove"}).Draw(rt, "step") {
			case "write":
				value := rapid.StringN(0, 3, 9).Draw(rt, "value")
				check(do.Write(ctx, path, value))
				addParents(m, name)
				m[name] = value
			case "mkdir":
				check(do.Mkdir(ctx, path))
				addParents(m, name)
			case "remove":
				err := do.Remove(ctx, path)
				_, parent := m[parentOf(name)]
				if (err == nil) != (parent || parentOf(name) == "") {
					rt.Fatalf("remove %s: %v", name, err)
				}
				maps.DeleteFunc(m, func(k, _ string) bool { return k == name || strings.HasPrefix(k, name+"/") })
			}
		}
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			if rapid.Bool().Draw(rt, "direct") {
				step(five, model)
				continue
			}
			inside, stop := maps.Clone(model), rapid.Bool().Draw(rt, "abort")
			err := five.Transaction(ctx, func(tx *xenstore.Tx) error {
				for range rapid.IntRange(1, 5).Draw(rt, "inside") {
					step(tx, inside)
				}
				compare(rt, t, tx, base, inside)
				if stop {
					return fs.ErrInvalid
				}
				return nil
			})
			if stop != (err != nil) {
				rt.Fatal(err)
			}
			if !stop {
				model = inside
			}
			compare(rt, t, five, base, model)
		}
		if got := s.Usage(5).Nodes; got != len(model)+1 {
			rt.Fatalf("%d nodes, want %d", got, len(model)+1)
		}
		s.Release(5)
		if got := s.Usage(0).Nodes; got != 5 { // 3 of its own, /local, /local/domain
			rt.Fatalf("domain 0 has %d nodes", got)
		}
	})
}

// verbs is what a client and a transaction have in common.
type verbs interface {
	Write(ctx context.Context, path, value string) error
	Mkdir(ctx context.Context, path string) error
	Remove(ctx context.Context, path string) error
	Read(ctx context.Context, path string) (string, error)
	List(ctx context.Context, path string) ([]string, error)
}

func parentOf(name string) string {
	above, _, _ := cutLast(name)
	return above
}

func cutLast(name string) (above, last string, ok bool) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return "", name, false
	}
	return name[:i], name[i+1:], true
}

func addParents(m map[string]string, name string) {
	for ; name != ""; name = parentOf(name) {
		if _, ok := m[name]; !ok {
			m[name] = ""
		}
	}
}

func compare(rt *rapid.T, t *testing.T, do verbs, base string, m map[string]string) {
	got := map[string]string{}
	var walk func(name string)
	walk = func(name string) {
		names, err := do.List(t.Context(), strings.TrimSuffix(base+"/"+name, "/"))
		if err != nil {
			rt.Fatal(err)
		}
		for _, child := range names {
			full := strings.TrimPrefix(name+"/"+child, "/")
			value, err := do.Read(t.Context(), base+"/"+full)
			if err != nil {
				rt.Fatal(err)
			}
			got[full] = value
			walk(full)
		}
	}
	walk("")
	if !maps.Equal(got, m) {
		rt.Fatalf("store is %q, want %q", got, m)
	}
}

func TestPermissionsOfDestroyedDomainsInTransactions(t *testing.T) {
	s := newHost(t)
	dom0 := connect(t, s, 0)
	must(t, dom0.Write(t.Context(), "/local/a", "1"))
	must(t, dom0.SetPermissions(t.Context(), "/local/a", xenstore.Permission{Domain: 0}, xenstore.Permission{Domain: 6, Read: true}))
	must(t, dom0.Transaction(t.Context(), func(tx *xenstore.Tx) error {
		if err := tx.Write(t.Context(), "/local/a", "2"); err != nil {
			return err
		}
		s.Release(6)
		return nil
	}))
	s.Introduce(6)
	_, err := connect(t, s, 6).Read(t.Context(), "/local/a")
	wantError(t, err, fs.ErrPermission)
	list, err := dom0.GetPermissions(t.Context(), "/local/a")
	must(t, err)
	if !slices.Contains(list, xenstore.Permission{Domain: xen.DomID(6), Read: true}) {
		t.Fatalf("permissions are %v", list)
	}
}
