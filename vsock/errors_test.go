package vsock_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/link"
	"xvsock/mux"
	"xvsock/sim"
	"xvsock/vsock"
	"xvsock/xen"
)

func TestDialErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back, fronts := star(t, roomy, 2)
		front, other := fronts[0], fronts[1]
		lone := newNode(t, back.dom().Host().Create(sim.DomainConfig{}), roomy)
		full := back.listen(80)
		for range 64 {
			front.dial(0, 80)
		}
		for _, c := range []struct {
			name string
			from *node
			to   vsock.Addr
			want syscall.Errno
		}{
			{"no such domain", front, vsock.Addr{CID: 999, Port: 7}, syscall.EHOSTUNREACH},
			{"no such domain, with the offset", front, vsock.Addr{CID: 0x10000 + 999, Port: 7}, syscall.EHOSTUNREACH},
			{"a domain to which there is no link", front, vsock.Addr{CID: uint32(other.stack.Self()), Port: 7}, syscall.EHOSTUNREACH},
			{"the backend of a domain that is not attached", lone, vsock.Addr{CID: vsock.CIDBackend, Port: 2}, syscall.EHOSTUNREACH},
			{"domain 0 from a domain that is not attached", lone, vsock.Addr{Port: 2}, syscall.EHOSTUNREACH},
			{"nobody listens", front, vsock.Addr{CID: vsock.CIDBackend, Port: 7}, syscall.ECONNREFUSED},
			{"nobody listens at the frontend", back, vsock.Addr{CID: uint32(front.stack.Self()), Port: 7}, syscall.ECONNREFUSED},
			{"nobody listens here", front, vsock.Addr{CID: vsock.CIDSelf, Port: 7}, syscall.ECONNREFUSED},
			{"port 1 of a domain that is no backend", back, vsock.Addr{CID: uint32(front.stack.Self()), Port: 1}, syscall.ECONNREFUSED},
			{"the backlog is full", front, vsock.Addr{Port: 80}, syscall.ECONNREFUSED},
			{"port 0", front, vsock.Addr{Port: 0}, syscall.EADDRNOTAVAIL},
			{"the port that is any port", front, vsock.Addr{Port: vsock.PortAny}, syscall.EADDRNOTAVAIL},
		} {
			_, err := c.from.stack.Dial(t.Context(), c.to)
			e := opError(t, "dial", err)
			if !errors.Is(err, c.want) || e.Timeout() || e.Addr != net.Addr(c.to) {
				t.Errorf("%s: %v, want %v", c.name, err, c.want)
			}
		}
		full.Close()
	})
}

// peerOf runs a bare session above the backend's link in place of a Stack, so
// that a test decides what the other side answers.
func peerOf(route func(local, remote uint32) mux.Route) link.Use {
	return func(_ context.Context, l *link.Link) error {
		return mux.NewSession(bareLink{l}, mux.Config{Route: route}).Run()
	}
}

type bareLink struct{ *link.Link }

func (b bareLink) Fail(err error) { b.End(link.Closed, err) }

func TestReasonsOfTheOtherSideBecomeErrnos(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back, front := oddFrontend(t, peerOf(func(local, _ uint32) mux.Route {
			return mux.Route{Reason: mux.Reason(local - 100)}
		}))
		for reason, want := range map[mux.Reason]syscall.Errno{
			mux.ReasonNone:         syscall.ECONNREFUSED,
			mux.ReasonRefused:      syscall.ECONNREFUSED,
			mux.ReasonDenied:       syscall.EACCES,
			mux.ReasonUnreachable:  syscall.EHOSTUNREACH,
			mux.ReasonBudget:       syscall.ENOBUFS,
			mux.ReasonShuttingDown: syscall.ECONNREFUSED,
			mux.ReasonRevoked:      syscall.EACCES,
			mux.ReasonProtocol:     syscall.EPROTO,
		} {
			_, err := back.stack.Dial(t.Context(), vsock.Addr{CID: front, Port: 100 + uint32(reason)})
			if e := opError(t, "dial", err); !errors.Is(err, want) || e.Timeout() {
				t.Errorf("%v: %v, want %v", reason, err, want)
			}
		}
	})
}

// oddFrontend returns a backend whose one frontend lets use have its links, and
// the frontend's id.
func oddFrontend(t *testing.T, use link.Use) (back *node, front uint32) {
	t.Helper()
	dom0, guests := newHost(t, 1)
	back = newNode(t, dom0, vsock.Config{Backend: true}).back(guests[0].ID())
	newNode(t, guests[0], vsock.Config{}).frontWith(use)
	return back.up(1), uint32(guests[0].ID())
}

// mute is a peer that is there and answers nothing. It reports each byte that it
// was sent.
func mute(_ context.Context, l *link.Link) error {
	<-l.Done()
	return l.Err()
}

func TestDialToADomainThatNeverAnswers(t *testing.T) {
	revoked := errors.New("revoked by the toolstack")
	for name, c := range map[string]struct {
		ctx     func(context.Context) (context.Context, context.CancelFunc)
		want    error
		after   time.Duration
		timeout bool
	}{
		"without a deadline is given up after 10 s": {context.WithCancel, syscall.ETIMEDOUT, 10 * time.Second, true},
		"with a deadline ends then": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 3*time.Second)
		}, syscall.ETIMEDOUT, 3 * time.Second, true},
		"with a deadline that has a cause of its own is a timeout too": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeoutCause(ctx, 3*time.Second, revoked)
		}, syscall.ETIMEDOUT, 3 * time.Second, true},
		"cancelled ends at once": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Second, cancel)
			return ctx, cancel
		}, context.Canceled, time.Second, false},
		"cancelled for a cause names both": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(ctx)
			time.AfterFunc(time.Second, func() { cancel(revoked) })
			return ctx, func() { cancel(nil) }
		}, revoked, time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				back, front := oddFrontend(t, mute)
				ctx, cancel := c.ctx(t.Context())
				defer cancel()
				begin := time.Now()
				_, err := back.stack.Dial(ctx, vsock.Addr{CID: front, Port: 7})
				e := opError(t, "dial", err)
				if took := time.Since(begin); took != c.after {
					t.Errorf("took %v", took)
				}
				if !errors.Is(err, c.want) || e.Timeout() != c.timeout || errors.Is(err, context.Canceled) == c.timeout {
					t.Errorf("%v, want %v; Timeout() = %v", err, c.want, e.Timeout())
				}
			})
		})
	}
}

func TestDialWithAContextThatHasEndedSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back, front := oddFrontend(t, mute)
		before := back.dom().Counts()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := back.stack.Dial(ctx, vsock.Addr{CID: front, Port: 7})
		opError(t, "dial", err)
		if made := back.dom().Counts().Minus(before); !errors.Is(err, context.Canceled) || made != (sim.Counts{}) {
			t.Errorf("%v, with %+v", err, made)
		}
	})
}

// Hypercalls with one of these ids mean somebody else than they say (DOMID_SELF,
// DOMID_IO, DOMID_XEN and so on).
func TestNoReservedIdReachesAHypercall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back, front := pair(t, roomy)
		back.dom().Host().Hook(func(c *sim.Call) error {
			named := []xen.DomID{c.Peer}
			for _, s := range c.Segments {
				named = append(named, s.Domain)
			}
			for _, id := range named {
				if !id.Valid() {
					t.Errorf("%v for domain %#x", c.Op, uint16(id))
				}
			}
			return nil
		})
		before := front.dom().Counts()
		for _, cid := range []uint32{
			0x7FF2, 0x7FF3, 0x7FF4, 0x7FF5, 0x7FFF, 0x8000, 0xFFFF, // Xen's own
			0x10000 + vsock.CIDSelf, 0x10000 + vsock.CIDBackend, 0x17FFF, 0x1FFFF, // spelled with the offset
			0x20000, 0x20000 + uint32(back.stack.Self()), 0xFFFFFFFF, // beyond 16 bits
		} {
			_, err := front.stack.Dial(t.Context(), vsock.Addr{CID: cid, Port: 7})
			if opError(t, "dial", err); !errors.Is(err, syscall.EHOSTUNREACH) {
				t.Errorf("CID %#x: %v", cid, err)
			}
		}
		if made := front.dom().Counts().Minus(before); made != (sim.Counts{}) {
			t.Errorf("they cost the frontend's domain %+v", made)
		}
		// The two that are resolved are served, and by their real ids.
		for _, cid := range []uint32{vsock.CIDSelf, vsock.CIDBackend} {
			if _, err := front.stack.Dial(t.Context(), vsock.Addr{CID: cid, Port: 7}); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("CID %#x: %v", cid, err)
			}
		}
	})
}

func TestErrorsOfAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back, front := pair(t, roomy)
		l := back.listen(7)
		buf := make([]byte, 1)
		for name, c := range map[string]struct {
			do      func(a, b *vsock.Conn) error
			op      string
			want    error
			timeout bool
		}{
			"a Read past its deadline": {func(a, _ *vsock.Conn) error {
				a.SetReadDeadline(time.Now().Add(time.Second))
				_, err := a.Read(buf)
				return err
			}, "read", os.ErrDeadlineExceeded, true},
			"a Write past its deadline": {func(a, _ *vsock.Conn) error {
				a.SetWriteDeadline(time.Now().Add(time.Second))
				_, err := a.Write(make([]byte, 1<<20))
				return err
			}, "write", os.ErrDeadlineExceeded, true},
			"a Read after Close": {func(a, _ *vsock.Conn) error {
				a.Close()
				_, err := a.Read(buf)
				return err
			}, "read", net.ErrClosed, false},
			"a second Close": {func(a, _ *vsock.Conn) error {
				a.Close()
				return a.Close()
			}, "close", net.ErrClosed, false},
			"a deadline after Close": {func(a, _ *vsock.Conn) error {
				a.Close()
				return a.SetDeadline(time.Time{})
			}, "set", net.ErrClosed, false},
			"a Write after CloseWrite": {func(a, _ *vsock.Conn) error {
				a.CloseWrite()
				_, err := a.Write(buf)
				return err
			}, "write", syscall.EPIPE, false},
			"a Write to whom reads no more": {func(a, b *vsock.Conn) error {
				b.CloseRead()
				synctest.Wait()
				_, err := a.Write(buf)
				return err
			}, "write", syscall.EPIPE, false},
		} {
			a := front.dial(vsock.CIDBackend, 7)
			b := accept(t, l)
			err := c.do(a, b)
			if e := opError(t, c.op, err); !errors.Is(err, c.want) || e.Timeout() != c.timeout {
				t.Errorf("%s: %v, want %v; Timeout() = %v", name, err, c.want, e.Timeout())
			}
			a.Close()
			b.Close()
		}
	})
}

// The cause of a link's end may be anything, the end of a stream, a closed
// descriptor or a passed deadline of something else included.
func TestALostLinkIsAResetWhateverEndedIt(t *testing.T) {
	for _, cause := range []error{io.EOF, net.ErrClosed, os.ErrDeadlineExceeded, context.DeadlineExceeded, context.Canceled} {
		t.Run(cause.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				back, front := pair(t, roomy)
				l := back.listen(7)
				a := front.dial(vsock.CIDBackend, 7)
				b := accept(t, l)
				(<-front.links).End(link.Lost, fmt.Errorf("the connection to the manager has ended: %w", cause))
				if _, err := front.stack.Dial(t.Context(), vsock.Addr{CID: vsock.CIDBackend, Port: 7}); !errors.Is(err, syscall.EHOSTUNREACH) {
					t.Errorf("Dial over a link that has ended: %v", err)
				}
				for end, c := range map[string]*vsock.Conn{"this end": a, "the other end": b} {
					_, err := c.Read(make([]byte, 1))
					e := opError(t, "read", err)
					if !errors.Is(err, syscall.ECONNRESET) || errors.Is(err, cause) || e.Timeout() {
						t.Errorf("%s: Read returns %v", end, err)
					}
					if _, err := c.Write(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
						t.Errorf("%s: Write returns %v", end, err)
					}
					c.Close()
				}
				_, err := a.Read(nil)
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("after Close: %v", err)
				}
			})
		})
	}
}

func TestTheTextOfAnErrorSaysWhatHappenedToWhom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, front := pair(t, roomy)
		_, err := front.stack.DialPrivileged(t.Context(), vsock.Addr{CID: vsock.CIDBackend, Port: 7})
		if want := "dial vsock 1:1023->32753:7: connection refused"; err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
		_, err = front.stack.Listen(vsock.PortManager)
		if want := "listen vsock 1:1: permission denied"; err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
		if !strings.HasPrefix(front.stack.Serve(<-front.links, vsock.ToBackend, nil).Error(), "serve link to domain 0: ") {
			t.Error("a second Serve of a link to the same domain is not refused")
		}
	})
}
