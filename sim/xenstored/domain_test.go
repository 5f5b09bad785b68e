package xenstored_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/sim/xenstored"
	"xvsock/xen"
	"xvsock/xenstore"
)

// inBubble runs a test on a host in a synctest bubble.
func inBubble(t *testing.T, test func(t *testing.T, s *xenstored.Server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newHost(t)) })
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

func want[T comparable](t *testing.T, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("got %v, want %v", got, want)
	}
}

// watch sets a watch and takes its first event.
func watch(t *testing.T, c *xenstore.Client, path string) *xenstore.Watch {
	t.Helper()
	w, err := c.Watch(t.Context(), path)
	must(t, err)
	want(t, fired(w), true)
	return w
}

// fired reports whether w has a value, and takes it.
func fired(w *xenstore.Watch) bool {
	synctest.Wait()
	select {
	case <-w.Changed():
		return true
	default:
		return false
	}
}

const (
	data5 = "/local/domain/5/data"
	data6 = "/local/domain/6/data"
)

// share lets another domain write to a node, and all read what that makes there:
// what it makes is its own, and keeps only the default of the node above.
func share(t *testing.T, c *xenstore.Client, path string, owner, with xen.DomID) {
	t.Helper()
	must(t, c.SetPermissions(t.Context(), path, xenstore.Permission{Domain: owner, Read: true},
		xenstore.Permission{Domain: with, Read: true, Write: true}))
}

func TestAReleasedDomainLeavesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, s *xenstored.Server) {
		five, six, dom0 := connect(t, s, 5), connect(t, s, 6), connect(t, s, 0)
		must(t, five.Write(t.Context(), data5+"/shared", "1"))
		share(t, five, data5+"/shared", 5, 6)
		must(t, six.Write(t.Context(), data5+"/shared/a/b", "1")) // domain 6 owns these two
		must(t, dom0.Write(t.Context(), data6+"/by0", "1"))       // and this: it inherits the owner
		want(t, s.Usage(6).Nodes, 4)

		inner, outer := watch(t, five, data5+"/shared/a/b"), watch(t, five, data5)
		gone, arrived := watch(t, dom0, "@releaseDomain"), watch(t, dom0, "@introduceDomain")
		s.Release(6)
		want(t, fired(inner) && fired(outer) && fired(gone), true)
		want(t, fired(arrived), false)
		_, err := five.Read(t.Context(), data5+"/shared/a")
		wantError(t, err, fs.ErrNotExist)
		_, err = dom0.Read(t.Context(), data6)
		wantError(t, err, fs.ErrNotExist)
		_, err = dom0.Read(t.Context(), "/local/domain/6") // domain 0's own
		must(t, err)
		want(t, s.Usage(6), xenstored.Usage{})
		want(t, s.Usage(5).Nodes, 2)
		<-six.Done()

		// The next domain 6 has none of the old one's rights.
		s.Introduce(6)
		want(t, fired(arrived), true)
		err = connect(t, s, 6).Write(t.Context(), data5+"/shared", "1")
		wantError(t, err, fs.ErrPermission)
		listed, err := five.GetPermissions(t.Context(), data5+"/shared")
		must(t, err)
		want(t, len(listed), 2)
	})
}

func TestShutdownOnlyFires(t *testing.T) {
	inBubble(t, func(t *testing.T, s *xenstored.Server) {
		w := watch(t, connect(t, s, 0), "@releaseDomain")
		s.Shutdown(5)
		want(t, fired(w), true)
		must(t, connect(t, s, 5).Write(t.Context(), data5+"/a", "1"))
		s.Shutdown(99)
		want(t, fired(w), false)
	})
}

func TestSpecialWatchesNeedPermission(t *testing.T) {
	inBubble(t, func(t *testing.T, s *xenstored.Server) {
		five, dom0 := connect(t, s, 5), connect(t, s, 0)
		w := watch(t, five, "@releaseDomain")
		s.Release(6)
		want(t, fired(w), false)
		reader := []xenstore.Permission{{Domain: 0}, {Domain: 5, Read: true}}
		wantError(t, five.SetPermissions(t.Context(), "@releaseDomain", reader...), fs.ErrPermission)
		must(t, dom0.SetPermissions(t.Context(), "@releaseDomain", reader...))
		addGuest(t, s, 7)
		s.Release(7)
		want(t, fired(w), true)
	})
}

func TestADomainThatIsNotIntroducedCannotConnect(t *testing.T) {
	inBubble(t, func(t *testing.T, s *xenstored.Server) {
		s.Create(8)
		for _, dom := range []xen.DomID{8, 9} {
			_, err := connect(t, s, dom).Read(t.Context(), "/")
			wantError(t, err, xenstore.ErrLost)
		}
		// One that Xen has may own nodes, one that it has not may not.
		dom0 := connect(t, s, 0)
		must(t, dom0.Mkdir(t.Context(), "/local/domain/8"))
		must(t, dom0.SetPermissions(t.Context(), "/local/domain/8", xenstore.Permission{Domain: 8}))
		wantError(t, dom0.SetPermissions(t.Context(), "/local/domain/8", xenstore.Permission{Domain: 9}), fs.ErrNotExist)
	})
}

func TestRequestsWaitWhileTheDomainIsSuspended(t *testing.T) {
	inBubble(t, func(t *testing.T, s *xenstored.Server) {
		five := connect(t, s, 5)
		s.Suspend(5)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		wantError(t, five.Write(ctx, data5+"/a", "1"), context.DeadlineExceeded)
		_, err := connect(t, s, 0).Read(t.Context(), data5+"/a")
		wantError(t, err, fs.ErrNotExist)
		s.Resume(5, 5)
		_, err = five.Read(t.Context(), data5+"/a") // the write that was waiting
		must(t, err)
	})
}

func TestAResumedDomainFindsItsWatchesFired(t *testing.T) {
	for _, as := range []xen.DomID{5, 7} {
		t.Run(fmt.Sprintf("as domain %d", as), func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *xenstored.Server) {
				five := connect(t, s, 5)
				resumed, err := five.WatchResume(t.Context())
				must(t, err)
				absolute, relative := watch(t, five, data6), watch(t, five, "domid")
				want(t, fired(resumed), false)
				s.Suspend(5)
				if as != 5 {
					addGuest(t, s, as)
				}
				s.Resume(5, as)
				if as != 5 {
					s.Release(5)
				}
				want(t, fired(resumed) && fired(absolute) && fired(relative), true)
				id, err := five.DomID(t.Context())
				must(t, err)
				want(t, id, as)
				want(t, s.Usage(as).Watches, 3)
				// The relative watch is now below the new directory.
				must(t, connect(t, s, 0).Write(t.Context(), fmt.Sprintf("/local/domain/%d/domid", as), "x"))
				want(t, fired(relative), true)
				want(t, fired(resumed), false)
			})
		})
	}
}

func TestAResumeVoidsTransactions(t *testing.T) {
	inBubble(t, func(t *testing.T, s *xenstored.Server) {
		five := connect(t, s, 5)
		must(t, five.Write(t.Context(), data5+"/here", "1"))
		for name, f := range map[string]func(tx *xenstore.Tx) error{
			"that commits": func(*xenstore.Tx) error { return nil },
			"that trusts what it reads": func(tx *xenstore.Tx) error {
				_, err := tx.Read(t.Context(), data5+"/here")
				return err
			},
		} {
			runs := 0
			err := five.Transaction(t.Context(), func(tx *xenstore.Tx) error {
				if runs++; runs == 1 {
					s.Resume(5, 5)
				}
				return f(tx)
			})
			if err != nil || runs != 2 {
				t.Errorf("one %s ran %d times: %v", name, runs, err)
			}
		}
		want(t, s.Usage(5).Transactions, 0)
	})
}

func TestTheHookAnswersInsteadOfTheStore(t *testing.T) {
	inBubble(t, func(t *testing.T, s *xenstored.Server) {
		five := connect(t, s, 5)
		var seen []string
		s.OnRequest(func(dom xen.DomID, op xenstore.Op, path string) error {
			seen = append(seen, fmt.Sprint(dom, " ", op, " ", path))
			if op == xenstore.OpWrite {
				return fmt.Errorf("hook: %w", fs.ErrPermission)
			}
			return nil
		})
		wantError(t, five.Write(t.Context(), "data/a", "1"), error(xenstoreEINVAL))
		_, err := five.Read(t.Context(), "data/a")
		wantError(t, err, fs.ErrNotExist)
		s.OnRequest(nil)
		must(t, five.Write(t.Context(), "data/a", "1"))
		if want := []string{"5 write data/a", "5 read data/a"}; !slices.Equal(seen, want) {
			t.Fatalf("hook saw %q, want %q", seen, want)
		}
	})
}

func TestDisconnectAndClose(t *testing.T) {
	inBubble(t, func(t *testing.T, s *xenstored.Server) {
		five, dom0 := connect(t, s, 5), connect(t, s, 0)
		watch(t, five, data5)
		s.Disconnect(5)
		<-five.Done()
		want(t, s.Usage(5), xenstored.Usage{Nodes: 1})
		again := connect(t, s, 5)
		_, err := again.Read(t.Context(), data5)
		must(t, err)
		must(t, s.Close())
		<-again.Done()
		<-dom0.Done()
		_, err = connect(t, s, 0).Read(t.Context(), "/")
		wantError(t, err, xenstore.ErrLost)
	})
}
