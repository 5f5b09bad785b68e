package conformance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"xvsock/xen"
	"xvsock/xenstore"
)

// storePatience bounds each wait for a thing that has to happen.
const storePatience = 10 * time.Second

// StorePair is a xenstore to test: connections of one domain, and a place in the
// tree where that domain may write.
type StorePair struct {
	// Open makes a connection of the domain. The tests close it.
	Open func(t *testing.T) *xenstore.Client
	// Domain is the domain's id.
	Domain xen.DomID
	// Base is the absolute path of a node below, or of, the domain's own
	// directory, below which the domain may make nodes: of a guest its "data"
	// node. The tests remove what they make there.
	Base string
	// Privileged says that the domain is domain 0.
	Privileged bool
	// Other makes connections of another, unprivileged domain of id OtherDomain.
	// Without it the tests of permissions between two domains are left out.
	Other       func(t *testing.T) *xenstore.Client
	OtherDomain xen.DomID
	// Quotas says that the domain is subject to the default quotas of C
	// xenstored and that it may be driven into them.
	Quotas bool
}

// Xenstore tests that a xenstore and a xenstore.Client together behave as the
// rest of xvsock needs it. It runs the same on the simulated xenstored, on the
// real one in dom0, and in a guest.
func Xenstore(t *testing.T, s StorePair) {
	tests := []struct {
		name string
		test func(*storeTest)
	}{
		{"a value of any bytes is read as it was written", testValues},
		{"a node that is not there does not exist", testMissing},
		{"writing makes the nodes above", testParents},
		{"removing takes all below with it", testRemove},
		{"a path that is none is refused", testBadPaths},
		{"a relative path is below the domain's own directory", testRelative},
		{"a new node inherits permissions", testInherit},
		{"many calls at once each get their own answer", testConcurrent},
		{"a call whose context has ended returns", testCancelled},
		{"a watch fires at once, then for its node and those below", testWatch},
		{"a watch on a node below fires when one above is removed", testWatchRemoval},
		{"two watches on one path are two", testWatchTwice},
		{"a closed watch is silent and gives its quota back", testWatchClose},
		{"special paths can be watched", testWatchSpecial},
		{"the resume watch is silent as long as nothing is resumed", testWatchResume},
		{"nobody sees a transaction before its end", testTransaction},
		{"a transaction that fails leaves nothing", testTransactionAbort},
		{"a transaction fires watches when it ends", testTransactionWatch},
		{"a transaction that was disturbed is run again, but not for ever", testTransactionConflict},
		{"transactions that count never lose a step", testTransactionCounter},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) { c.test(newStoreTest(t, s)) })
	}
	if s.Privileged {
		t.Run("a list of any length is read", func(t *testing.T) { testLongList(newStoreTest(t, s)) })
		t.Run("domain 0 sees who is introduced", func(t *testing.T) { testIntroduced(newStoreTest(t, s)) })
	} else {
		t.Run("a guest may not write what is not its own", func(t *testing.T) { testForbidden(newStoreTest(t, s)) })
	}
	if s.Quotas {
		t.Run("a node over the size limit is over quota", func(t *testing.T) { testNodeQuota(newStoreTest(t, s)) })
		t.Run("one watch too many is over quota", func(t *testing.T) { testWatchQuota(newStoreTest(t, s)) })
	}
	if s.Other != nil {
		t.Run("another domain may do what the permissions say", func(t *testing.T) { testPermissions(newStoreTest(t, s)) })
		t.Run("another domain sees the changes of what it may read", func(t *testing.T) { testForeignWatch(newStoreTest(t, s)) })
	}
}

// storeTest is one test: a connection and a directory of its own.
type storeTest struct {
	*testing.T
	StorePair
	ctx    context.Context
	client *xenstore.Client
	dir    string
}

func newStoreTest(t *testing.T, s StorePair) *storeTest {
	ctx, cancel := context.WithTimeout(context.Background(), 6*storePatience)
	t.Cleanup(cancel)
	st := &storeTest{T: t, StorePair: s, ctx: ctx, dir: s.Base + "/conformance"}
	st.client = st.open(s.Open)
	st.must(st.client.Remove(ctx, st.dir))
	st.must(st.client.Mkdir(ctx, st.dir))
	t.Cleanup(func() {
		if err := st.client.Remove(ctx, st.dir); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	return st
}

// open makes a connection that is closed at the test's end. Cleanups run last
// one first, so the nodes go before their connection does.
func (st *storeTest) open(open func(*testing.T) *xenstore.Client) *xenstore.Client {
	st.Helper()
	c := open(st.T)
	st.Cleanup(func() {
		if err := c.Close(); err != nil {
			st.Errorf("close: %v", err)
		}
	})
	return c
}

func (st *storeTest) must(err error) {
	st.Helper()
	if err != nil {
		st.Fatal(err)
	}
}

func (st *storeTest) is(err, want error) {
	st.Helper()
	if !errors.Is(err, want) {
		st.Fatalf("error is %v, want %v", err, want)
	}
}

func (st *storeTest) read(c *xenstore.Client, path, want string) {
	st.Helper()
	got, err := c.Read(st.ctx, path)
	st.must(err)
	if got != want {
		st.Fatalf("%s is %q, want %q", path, got, want)
	}
}

func (st *storeTest) watch(c *xenstore.Client, path string) *xenstore.Watch {
	st.Helper()
	w, err := c.Watch(st.ctx, path)
	st.must(err)
	st.Cleanup(func() { w.Close() })
	st.fires(w)
	return w
}

func (st *storeTest) fires(w *xenstore.Watch) {
	st.Helper()
	select {
	case <-w.Changed():
	case <-time.After(storePatience):
		st.Fatalf("the watch on %s does not fire", w.Path())
	}
}

// settle waits until all events of what was done before have come to c: events
// come in order, so the one of a node changed now comes last.
func (st *storeTest) settle(c *xenstore.Client) {
	st.Helper()
	canary := st.dir + "-canary"
	if c != st.client {
		return // another domain's; its silence cannot be waited for
	}
	w := st.watch(c, canary)
	st.must(c.Write(st.ctx, canary, ""))
	st.fires(w)
	st.must(w.Close())
	st.must(c.Remove(st.ctx, canary))
}

// silent checks that w has not fired for anything that was done before.
func (st *storeTest) silent(w *xenstore.Watch) {
	st.Helper()
	st.settle(st.client)
	select {
	case <-w.Changed():
		st.Fatalf("the watch on %s fires", w.Path())
	default:
	}
}

func testValues(st *storeTest) {
	for _, value := range []string{"", "1", "two words", "a\x00b\x00", "\xff\x1b[31m\n", strings.Repeat("x", 1500)} {
		st.must(st.client.Write(st.ctx, st.dir+"/value", value))
		st.read(st.client, st.dir+"/value", value)
	}
}

func testMissing(st *storeTest) {
	_, err := st.client.Read(st.ctx, st.dir+"/none")
	st.is(err, fs.ErrNotExist)
	_, err = st.client.List(st.ctx, st.dir+"/none")
	st.is(err, fs.ErrNotExist)
	_, err = st.client.GetPermissions(st.ctx, st.dir+"/none")
	st.is(err, fs.ErrNotExist)
}

func testParents(st *storeTest) {
	st.must(st.client.Write(st.ctx, st.dir+"/a/b/c", "1"))
	st.read(st.client, st.dir+"/a/b", "")
	st.must(st.client.Mkdir(st.ctx, st.dir+"/a/b/c"))
	st.read(st.client, st.dir+"/a/b/c", "1")
	st.must(st.client.Mkdir(st.ctx, st.dir+"/a/d"))
	names, err := st.client.List(st.ctx, st.dir+"/a")
	st.must(err)
	slices.Sort(names)
	if !slices.Equal(names, []string{"b", "d"}) {
		st.Fatalf("list is %q", names)
	}
	names, err = st.client.List(st.ctx, st.dir+"/a/d")
	st.must(err)
	if len(names) != 0 {
		st.Fatalf("list of an empty node is %q", names)
	}
}

func testRemove(st *storeTest) {
	st.must(st.client.Write(st.ctx, st.dir+"/a/b/c", "1"))
	st.must(st.client.Remove(st.ctx, st.dir+"/a"))
	for _, path := range []string{"/a", "/a/b", "/a/b/c"} {
		_, err := st.client.Read(st.ctx, st.dir+path)
		st.is(err, fs.ErrNotExist)
	}
	st.must(st.client.Remove(st.ctx, st.dir+"/a"))
	st.is(st.client.Remove(st.ctx, st.dir+"/a/b"), fs.ErrNotExist)
	names, err := st.client.List(st.ctx, st.dir)
	st.must(err)
	if len(names) != 0 {
		st.Fatalf("left: %q", names)
	}
}

func testBadPaths(st *storeTest) {
	for _, path := range []string{
		"", st.dir + "/", st.dir + "//a", st.dir + "/a.b", st.dir + "/a b", st.dir + "/a\x00b", st.dir + "/\xc3\xa4",
		st.dir + "/" + strings.Repeat("a", xenstore.MaxPath),
	} {
		if err := st.client.Write(st.ctx, path, "1"); err == nil {
			st.Fatalf("%.60q was taken", path)
		}
	}
	st.read(st.client, st.dir, "")
}

func testRelative(st *storeTest) {
	home, err := st.client.DomainPath(st.ctx, st.Domain)
	st.must(err)
	if want := "/local/domain/" + st.Domain.String(); home != want {
		st.Fatalf("domain path is %q, want %q", home, want)
	}
	relative, ok := strings.CutPrefix(st.dir, home+"/")
	if !ok {
		st.Fatalf("%s is not below %s", st.dir, home)
	}
	st.must(st.client.Write(st.ctx, st.dir+"/a", "1"))
	st.read(st.client, relative+"/a", "1")
	w := st.watch(st.client, relative+"/a")
	st.must(st.client.Write(st.ctx, relative+"/a", "2"))
	st.fires(w)
	st.read(st.client, st.dir+"/a", "2")
}

func testInherit(st *storeTest) {
	list := []xenstore.Permission{{Domain: st.Domain, Read: true}, {Domain: 0, Write: true}}
	st.must(st.client.SetPermissions(st.ctx, st.dir, list...))
	st.must(st.client.Write(st.ctx, st.dir+"/a/b", "1"))
	for _, path := range []string{"", "/a", "/a/b"} {
		got, err := st.client.GetPermissions(st.ctx, st.dir+path)
		st.must(err)
		if !slices.Equal(got, list) {
			st.Fatalf("permissions of %s are %v, want %v", path, got, list)
		}
	}
}

func testConcurrent(st *storeTest) {
	var group sync.WaitGroup
	for i := range 40 {
		group.Go(func() {
			path, value := fmt.Sprintf("%s/%d", st.dir, i), strings.Repeat(fmt.Sprint(i), 20)
			if err := st.client.Write(st.ctx, path, value); err != nil {
				st.Error(err)
			}
			if got, err := st.client.Read(st.ctx, path); err != nil || got != value {
				st.Errorf("%s is %q, %v", path, got, err)
			}
		})
		// Watches are set and closed between the others: the kernel's driver
		// handles them in another way.
		group.Go(func() {
			w, err := st.client.Watch(st.ctx, fmt.Sprintf("%s/%d", st.dir, i))
			if err != nil {
				st.Error(err)
				return
			}
			if err := w.Close(); err != nil {
				st.Error(err)
			}
		})
	}
	group.Wait()
	if st.client.Err() != nil {
		st.Fatal(st.client.Err())
	}
}

func testCancelled(st *storeTest) {
	ctx, cancel := context.WithCancel(st.ctx)
	cancel()
	_, err := st.client.Read(ctx, st.dir)
	st.is(err, context.Canceled)
	for range 50 {
		ctx, cancel := context.WithCancel(st.ctx)
		go cancel()
		if _, err := st.client.Read(ctx, st.dir); err != nil {
			st.is(err, context.Canceled)
		}
		if err := st.client.Transaction(ctx, func(*xenstore.Tx) error { return nil }); err != nil {
			st.is(err, context.Canceled)
		}
		if w, err := st.client.Watch(ctx, st.dir); err != nil {
			st.is(err, context.Canceled)
		} else {
			st.must(w.Close())
		}
	}
	st.read(st.client, st.dir, "")
}

func testWatch(st *storeTest) {
	a, b := st.watch(st.client, st.dir+"/a"), st.watch(st.client, st.dir+"/b")
	st.must(st.client.Write(st.ctx, st.dir+"/a", "1"))
	st.fires(a)
	st.must(st.client.Write(st.ctx, st.dir+"/a/below", "1"))
	st.fires(a)
	st.must(st.client.SetPermissions(st.ctx, st.dir+"/a", xenstore.Permission{Domain: st.Domain, Read: true}))
	st.fires(a)
	st.must(st.client.Remove(st.ctx, st.dir+"/a"))
	st.fires(a)
	st.must(st.client.Write(st.ctx, st.dir+"/ab", "1"))
	st.silent(a)
	st.silent(b)
}

func testWatchRemoval(st *storeTest) {
	st.must(st.client.Write(st.ctx, st.dir+"/a/b/c", "1"))
	w := st.watch(st.client, st.dir+"/a/b/c")
	st.must(st.client.Remove(st.ctx, st.dir+"/a"))
	st.fires(w)
}

func testWatchTwice(st *storeTest) {
	one, two := st.watch(st.client, st.dir+"/a"), st.watch(st.client, st.dir+"/a")
	st.must(st.client.Write(st.ctx, st.dir+"/a", "1"))
	st.fires(one)
	st.fires(two)
	st.must(one.Close())
	st.must(st.client.Write(st.ctx, st.dir+"/a", "2"))
	st.fires(two)
}

func testWatchClose(st *storeTest) {
	w := st.watch(st.client, st.dir+"/a")
	st.must(w.Close())
	st.must(w.Close())
	st.must(st.client.Write(st.ctx, st.dir+"/a", "1"))
	st.silent(w)
	for range 300 { // more than the quota of watches
		w, err := st.client.Watch(st.ctx, st.dir+"/a")
		st.must(err)
		st.must(w.Close())
	}
}

func testWatchSpecial(st *storeTest) {
	st.watch(st.client, "@introduceDomain")
	st.watch(st.client, "@releaseDomain")
}

func testWatchResume(st *storeTest) {
	w, err := st.client.WatchResume(st.ctx)
	st.must(err)
	st.must(st.client.Write(st.ctx, st.dir+"/a", "1"))
	st.silent(w)
	st.must(w.Close())
}

func testTransaction(st *storeTest) {
	second := st.open(st.Open)
	st.must(st.client.Write(st.ctx, st.dir+"/old", "1"))
	st.must(st.client.Transaction(st.ctx, func(tx *xenstore.Tx) error {
		if err := tx.Write(st.ctx, st.dir+"/new", "1"); err != nil {
			return err
		}
		if err := tx.Remove(st.ctx, st.dir+"/old"); err != nil {
			return err
		}
		if got, err := tx.Read(st.ctx, st.dir+"/new"); err != nil || got != "1" {
			return fmt.Errorf("own write is read as %q, %v", got, err)
		}
		names, err := tx.List(st.ctx, st.dir)
		if err != nil || !slices.Equal(names, []string{"new"}) {
			return fmt.Errorf("own list is %q, %v", names, err)
		}
		if _, err := second.Read(st.ctx, st.dir+"/new"); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("another connection reads the new node: %v", err)
		}
		if _, err := second.Read(st.ctx, st.dir+"/old"); err != nil {
			return fmt.Errorf("another connection misses the old node: %v", err)
		}
		return nil
	}))
	st.read(second, st.dir+"/new", "1")
	_, err := second.Read(st.ctx, st.dir+"/old")
	st.is(err, fs.ErrNotExist)
}

func testTransactionAbort(st *storeTest) {
	stop := errors.New("stop")
	var kept *xenstore.Tx
	st.is(st.client.Transaction(st.ctx, func(tx *xenstore.Tx) error {
		kept = tx
		st.must(tx.Write(st.ctx, st.dir+"/a", "1"))
		return stop
	}), stop)
	_, err := st.client.Read(st.ctx, st.dir+"/a")
	st.is(err, fs.ErrNotExist)
	st.is(kept.Write(st.ctx, st.dir+"/a", "1"), fs.ErrClosed)
	for range 30 { // more than the quota of transactions
		st.is(st.client.Transaction(st.ctx, func(*xenstore.Tx) error { return stop }), stop)
	}
}

func testTransactionWatch(st *storeTest) {
	w := st.watch(st.client, st.dir+"/a")
	st.must(st.client.Transaction(st.ctx, func(tx *xenstore.Tx) error {
		st.must(tx.Write(st.ctx, st.dir+"/a/b", "1"))
		st.silent(w)
		return nil
	}))
	st.fires(w)
	st.is(st.client.Transaction(st.ctx, func(tx *xenstore.Tx) error {
		st.must(tx.Write(st.ctx, st.dir+"/a/b", "2"))
		return fs.ErrInvalid
	}), fs.ErrInvalid)
	st.silent(w)
}

func testTransactionConflict(st *storeTest) {
	second := st.open(st.Open)
	st.must(st.client.Write(st.ctx, st.dir+"/a", "0"))
	runs := 0
	st.must(st.client.Transaction(st.ctx, func(tx *xenstore.Tx) error {
		runs++
		value, err := tx.Read(st.ctx, st.dir+"/a")
		st.must(err)
		if runs == 1 {
			st.must(second.Write(st.ctx, st.dir+"/a", "1"))
			if again, err := tx.Read(st.ctx, st.dir+"/a"); err != nil || again != "0" {
				return fmt.Errorf("the value changes inside the transaction to %q, %v", again, err)
			}
		}
		return tx.Write(st.ctx, st.dir+"/b", value)
	}))
	if runs != 2 {
		st.Fatalf("the transaction ran %d times, want 2", runs)
	}
	st.read(st.client, st.dir+"/b", "1")

	runs = 0
	err := st.client.Transaction(st.ctx, func(tx *xenstore.Tx) error {
		runs++
		if _, err := tx.Read(st.ctx, st.dir+"/a"); err != nil {
			return err
		}
		st.must(second.Write(st.ctx, st.dir+"/a", fmt.Sprint(runs)))
		return tx.Write(st.ctx, st.dir+"/b", "never")
	})
	st.is(err, syscall.EAGAIN)
	st.read(st.client, st.dir+"/b", "1")
}

func testTransactionCounter(st *storeTest) {
	const goroutines, steps = 3, 4
	st.must(st.client.Write(st.ctx, st.dir+"/n", "0"))
	var group sync.WaitGroup
	for range goroutines {
		group.Go(func() {
			for range steps {
				if err := st.client.Transaction(st.ctx, func(tx *xenstore.Tx) error {
					n, err := tx.ReadUint(st.ctx, st.dir+"/n", 1000)
					if err != nil {
						return err
					}
					return tx.Write(st.ctx, st.dir+"/n", fmt.Sprint(n+1))
				}); err != nil {
					st.Error(err)
				}
			}
		})
	}
	group.Wait()
	st.read(st.client, st.dir+"/n", fmt.Sprint(goroutines*steps))
}

func testLongList(st *storeTest) {
	want := make([]string, 150)
	for i := range want {
		want[i] = fmt.Sprintf("node-%03d-%s", i, strings.Repeat("x", 50))
		st.must(st.client.Mkdir(st.ctx, st.dir+"/"+want[i]))
	}
	got, err := st.client.List(st.ctx, st.dir)
	st.must(err)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		st.Fatalf("list has %d names, want %d", len(got), len(want))
	}
	st.must(st.client.Transaction(st.ctx, func(tx *xenstore.Tx) error {
		got, err := tx.List(st.ctx, st.dir)
		if err == nil && len(got) != len(want) {
			err = fmt.Errorf("list in a transaction has %d names, want %d", len(got), len(want))
		}
		return err
	}))
}

func testIntroduced(st *storeTest) {
	for domain, want := range map[xen.DomID]bool{0: true, xen.DomIDFirstReserved - 1: false} {
		got, err := st.client.IsIntroduced(st.ctx, domain)
		st.must(err)
		if got != want {
			st.Fatalf("introduced(%v) is %v", domain, got)
		}
	}
}

func testForbidden(st *storeTest) {
	_, err := st.client.Read(st.ctx, "/tool/xenstored")
	st.is(err, fs.ErrPermission)
	st.is(st.client.Write(st.ctx, "/tool/mine", "1"), fs.ErrPermission)
	st.is(st.client.Write(st.ctx, "/local/domain/0/mine", "1"), fs.ErrPermission)
	st.is(st.client.SetPermissions(st.ctx, st.dir, xenstore.Permission{Domain: 0}), fs.ErrPermission)
	_, err = st.client.IsIntroduced(st.ctx, 0)
	st.is(err, fs.ErrPermission)
	id, err := st.client.DomID(st.ctx)
	st.must(err)
	if id != st.Domain {
		st.Fatalf("domid is %v, want %v", id, st.Domain)
	}
}

func testNodeQuota(st *storeTest) {
	st.must(st.client.Write(st.ctx, st.dir+"/a", strings.Repeat("x", 1900)))
	st.is(st.client.Write(st.ctx, st.dir+"/a", strings.Repeat("x", 2048)), xenstore.ErrQuota)
	st.is(st.client.Write(st.ctx, st.dir+"/a", strings.Repeat("x", xenstore.MaxPayload)), xenstore.ErrTooLong)
	st.read(st.client, st.dir+"/a", strings.Repeat("x", 1900))
}

func testWatchQuota(st *storeTest) {
	var err error
	for range 200 {
		var w *xenstore.Watch
		if w, err = st.client.Watch(st.ctx, st.dir+"/a"); err != nil {
			break
		}
		defer w.Close()
	}
	st.is(err, xenstore.ErrQuota)
	st.read(st.client, st.dir, "")
}

func testPermissions(st *storeTest) {
	other := st.open(st.Other)
	node := st.dir + "/a"
	st.must(st.client.Write(st.ctx, node, "1"))
	for _, c := range []struct {
		name            string
		permissions     []xenstore.Permission
		mayRead, mayPut bool
	}{
		{"nobody", []xenstore.Permission{{Domain: st.Domain}}, false, false},
		{"default read", []xenstore.Permission{{Domain: st.Domain, Read: true}}, true, false},
		{"named read", []xenstore.Permission{{Domain: st.Domain}, {Domain: st.OtherDomain, Read: true}}, true, false},
		{"named write", []xenstore.Permission{{Domain: st.Domain}, {Domain: st.OtherDomain, Write: true}}, false, true},
		{"named both", []xenstore.Permission{{Domain: st.Domain}, {Domain: st.OtherDomain, Read: true, Write: true}}, true, true},
		{"named none against default", []xenstore.Permission{{Domain: st.Domain, Read: true}, {Domain: st.OtherDomain}}, false, false},
	} {
		st.must(st.client.SetPermissions(st.ctx, node, c.permissions...))
		_, err := other.Read(st.ctx, node)
		if c.mayRead != (err == nil) || err != nil && !errors.Is(err, fs.ErrPermission) {
			st.Errorf("%s: read gives %v", c.name, err)
		}
		err = other.Write(st.ctx, node, "2")
		if c.mayPut != (err == nil) || err != nil && !errors.Is(err, fs.ErrPermission) {
			st.Errorf("%s: write gives %v", c.name, err)
		}
		err = other.SetPermissions(st.ctx, node, xenstore.Permission{Domain: st.OtherDomain})
		st.is(err, fs.ErrPermission)
	}
}

func testForeignWatch(st *storeTest) {
	other := st.open(st.Other)
	st.must(st.client.Write(st.ctx, st.dir+"/a/state", "1"))
	w := st.watch(other, st.dir+"/a/state")
	readable := []xenstore.Permission{{Domain: st.Domain}, {Domain: st.OtherDomain, Read: true}}
	st.must(st.client.SetPermissions(st.ctx, st.dir+"/a/state", readable...))
	st.fires(w)
	st.must(st.client.Write(st.ctx, st.dir+"/a/state", "2"))
	st.fires(w)
	st.read(other, st.dir+"/a/state", "2")
	st.must(st.client.Remove(st.ctx, st.dir+"/a"))
	st.fires(w)
	_, err := other.Read(st.ctx, st.dir+"/a/state")
	st.is(err, fs.ErrPermission)
}
