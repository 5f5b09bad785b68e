package conformance

import (
	"context"
	"errors"
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
	// OCaml says that it is oxenstored, which differs in two things: it merges a
	// transaction with what others did where it can, sooner or later, and it has
	// no way to give a list that is longer than a message.
	OCaml bool
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
		if !s.OCaml {
			t.Run("a list of any length is read", func(t *testing.T) { testLongList(newStoreTest(t, s)) })
		}
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
