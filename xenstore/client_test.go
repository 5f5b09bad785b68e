package xenstore_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/xenstore"
)

func TestAnswersAreMatchedByID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, c := newDaemon(t, xenstore.Config{})
		a := reading(t.Context(), c, "/a")
		ra := d.expect(xenstore.OpRead, "/a\x00")
		b := reading(t.Context(), c, "/b")
		rb := d.expect(xenstore.OpRead, "/b\x00")
		d.reply(rb, "of b")
		d.reply(ra, "of a")
		want(t, <-a, result{"of a", nil})
		want(t, <-b, result{"of b", nil})
	})
}

func TestErrorsSayWhatAndWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, c := newDaemon(t, xenstore.Config{})
		for name, reason := range map[string]error{
			"ENOENT": fs.ErrNotExist, "EACCES": fs.ErrPermission, "EPERM": fs.ErrPermission,
			"ENOSPC": xenstore.ErrQuota, "E2BIG": xenstore.ErrQuota, "EQUOTA": xenstore.ErrQuota,
			"EIO": syscall.EIO, "EINVAL": syscall.EINVAL, "EBUSY": syscall.EBUSY,
		} {
			got := reading(t.Context(), c, "/a")
			d.refuse(d.expect(xenstore.OpRead, "/a\x00"), name)
			err := (<-got).err
			wantError(t, err, reason)
			want(t, errors.Is(err, xenstore.ErrQuota), reason == xenstore.ErrQuota)
			if !strings.Contains(err.Error(), `xenstore read "/a": `) {
				t.Errorf("text is %q", err)
			}
		}
		got := reading(t.Context(), c, "/a")
		d.refuse(d.expect(xenstore.OpRead, "/a\x00"), "ENEW\x1b[31m")
		want(t, (<-got).err.Error(), `xenstore read "/a": unknown error "ENEW\x1b[31m"`)
	})
}

func TestUnexpectedAnswersAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, c := newDaemon(t, xenstore.Config{})
		d.send(xenstore.OpRead, 77, "whose")
		d.send(xenstore.OpError, 0, "EINVAL\x00")
		d.send(xenstore.OpWatchEvent, 0, "/a\x00no such token\x00")
		got := reading(t.Context(), c, "/a")
		d.reply(d.expect(xenstore.OpRead, "/a\x00"), "1")
		want(t, <-got, result{"1", nil})
		want(t, c.Dropped(), 3)
	})
}

func TestMalformedMessagesEndTheConnection(t *testing.T) {
	huge := binary.LittleEndian.AppendUint32(make([]byte, 12), 4097)
	for name, wire := range map[string][]byte{
		"an announced payload over the limit": huge,
		"an answer of another type":           xenstore.AppendMessage(nil, xenstore.Header{Op: xenstore.OpWrite, RequestID: 1}, []byte("OK\x00")),
		"an event without a token":            xenstore.AppendMessage(nil, xenstore.Header{Op: xenstore.OpWatchEvent}, []byte("/a\x00")),
		"an event whose token does not end":   xenstore.AppendMessage(nil, xenstore.Header{Op: xenstore.OpWatchEvent}, []byte("/a\x001")),
		"an event without anything":           xenstore.AppendMessage(nil, xenstore.Header{Op: xenstore.OpWatchEvent}, nil),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, c := newDaemon(t, xenstore.Config{})
				got := reading(t.Context(), c, "/a")
				d.expect(xenstore.OpRead, "/a\x00")
				d.Write(wire)
				wantError(t, (<-got).err, xenstore.ErrLost, xenstore.ErrProtocol)
				<-c.Done()
				wantError(t, c.Err(), xenstore.ErrLost)
			})
		})
	}
}

func TestEverybodyLearnsThatTheConnectionEnded(t *testing.T) {
	for name, c := range map[string]struct {
		end    func(*daemon, *xenstore.Client)
		reason error
	}{
		"by xenstored": {func(d *daemon, _ *xenstore.Client) { d.Close() }, xenstore.ErrLost},
		"by Close":     {func(_ *daemon, c *xenstore.Client) { c.Close() }, xenstore.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, client := newDaemon(t, xenstore.Config{})
				watching := doing(func() error {
					w, err := client.Watch(t.Context(), "/w")
					if err != nil {
						return err
					}
					<-w.Changed()
					return w.Close()
				})
				d.reply(d.expect(xenstore.OpWatch, "/w\x001\x00"), "OK\x00")
				var calls []<-chan result
				for i := range 30 { // more than may be under way
					calls = append(calls, reading(t.Context(), client, fmt.Sprint("/", i)))
				}
				synctest.Wait()
				c.end(d, client)
				for _, call := range calls {
					wantError(t, (<-call).err, c.reason)
				}
				if err := <-watching; err != nil {
					t.Fatal(err)
				}
				_, err := client.Watch(t.Context(), "/w")
				wantError(t, err, c.reason)
				wantError(t, client.Transaction(t.Context(), func(*xenstore.Tx) error { return nil }), c.reason)
				<-client.Done()
			})
		})
	}
}

func TestACancelledCallReturnsAndItsLateAnswerIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, c := newDaemon(t, xenstore.Config{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		got := reading(ctx, c, "/a")
		late := d.expect(xenstore.OpRead, "/a\x00")
		wantError(t, (<-got).err, context.DeadlineExceeded)
		d.reply(late, "late")
		got = reading(t.Context(), c, "/b")
		d.reply(d.expect(xenstore.OpRead, "/b\x00"), "1")
		want(t, <-got, result{"1", nil})
		want(t, c.Dropped(), 0)
	})
}

func TestRequestsUnderWayAreBounded(t *testing.T) {
	for _, c := range []struct {
		name   string
		config xenstore.Config
		most   int
	}{{"on a stream", xenstore.Config{}, 16}, {"through the device", xenstore.Config{Device: true}, 1}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, client := newDaemon(t, c.config)
				ctx, cancel := context.WithCancel(t.Context())
				for range c.most {
					reading(ctx, client, "/a")
				}
				synctest.Wait()
				want(t, len(d.requests), c.most)
				// Giving up does not make room; answers do.
				cancel()
				synctest.Wait()
				watch := doing(func() error { _, err := client.Watch(t.Context(), "/w"); return err })
				first := d.expect(xenstore.OpRead, "/a\x00")
				for range c.most - 1 {
					d.expect(xenstore.OpRead, "/a\x00")
				}
				d.idle()
				d.reply(first, "1")
				d.reply(d.expect(xenstore.OpWatch, "/w\x001\x00"), "OK\x00")
				want(t, <-watch, nil)
			})
		})
	}
}

func TestACallGivenUpBeforeItWasSentIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		c := xenstore.New(ours, xenstore.Config{})
		defer c.Close()
		defer theirs.Close()
		ctx, cancel := context.WithCancel(t.Context())
		stuck := reading(ctx, c, "/a") // nobody takes its bytes
		synctest.Wait()
		queued := doing(func() error { return c.Write(ctx, "/a", "1") })
		synctest.Wait()
		cancel()
		wantError(t, (<-stuck).err, context.Canceled)
		wantError(t, <-queued, context.Canceled)
		next := reading(t.Context(), c, "/b")
		wire := make([]byte, 2*xenstore.HeaderSize+len("/a\x00/b\x00"))
		if _, err := io.ReadFull(theirs, wire); err != nil {
			t.Fatal(err)
		}
		second := wire[xenstore.HeaderSize+3:]
		want(t, string(second[xenstore.HeaderSize:]), "/b\x00")
		h, _ := xenstore.ParseHeader(second)
		theirs.Write(xenstore.AppendMessage(nil, xenstore.Header{Op: xenstore.OpRead, RequestID: h.RequestID}, nil))
		want(t, <-next, result{})
	})
}

// device refuses what refuse says, by the errno of the write, as the driver of
// /dev/xen/xenbus does with a WATCH over quota.
type device struct {
	net.Conn
	refuse func(xenstore.Header) error
	writes int
}

func (d *device) Write(p []byte) (int, error) {
	d.writes++
	h, _ := xenstore.ParseHeader(p)
	if err := d.refuse(h); err != nil {
		return 0, err
	}
	return d.Conn.Write(p)
}

func TestTheDeviceMayRefuseOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		dev := &device{Conn: ours, refuse: func(h xenstore.Header) error {
			if h.Op == xenstore.OpWatch {
				return &fs.PathError{Op: "write", Path: "/dev/xen/xenbus", Err: syscall.E2BIG}
			}
			return nil
		}}
		c := xenstore.New(dev, xenstore.Config{Device: true})
		defer c.Close()
		d := &daemon{T: t, Conn: theirs, requests: make(chan message, 1)}
		go d.readRequests()
		_, err := c.Watch(t.Context(), "/a")
		wantError(t, err, xenstore.ErrQuota)
		got := reading(t.Context(), c, "/a")
		d.reply(d.expect(xenstore.OpRead, "/a\x00"), "1")
		want(t, <-got, result{"1", nil})
		want(t, dev.writes, 2) // one for each message
	})
}

func TestAStreamThatCannotBeWrittenIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		c := xenstore.New(&device{Conn: ours, refuse: func(xenstore.Header) error { return syscall.EPIPE }}, xenstore.Config{})
		defer c.Close()
		_, err := c.Read(t.Context(), "/a")
		wantError(t, err, xenstore.ErrLost, syscall.EPIPE)
	})
}

func TestRequestsThatDoNotFitAreNotSent(t *testing.T) {
	for _, c := range []struct {
		config xenstore.Config
		most   int
	}{{xenstore.Config{}, 4096}, {xenstore.Config{Device: true}, 4080}} {
		synctest.Test(t, func(t *testing.T) {
			d, client := newDaemon(t, c.config)
			err := client.Write(t.Context(), "/a", strings.Repeat("x", c.most-2))
			wantError(t, err, xenstore.ErrTooLong)
			d.idle()
			fits := strings.Repeat("x", c.most-3)
			done := doing(func() error { return client.Write(t.Context(), "/a", fits) })
			d.reply(d.expect(xenstore.OpWrite, "/a\x00"+fits), "OK\x00")
			want(t, <-done, nil)
		})
	}
}

func TestPathsThatAreNoneAreNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, c := newDaemon(t, xenstore.Config{})
		for _, path := range []string{"", "/a/", "//a", "/a//b", "a//b", "a/", "@a", "/a\x00b", "/a.b", strings.Repeat("a", 2049)} {
			_, err := c.Read(t.Context(), path)
			wantError(t, err, xenstore.ErrPath)
		}
		for _, path := range []string{"@", "@a\x00", "@/"} {
			_, err := c.Watch(t.Context(), path)
			if err == nil {
				t.Fatalf("watch %q", path)
			}
		}
		d.idle()
	})
}

func FuzzMessages(f *testing.F) {
	f.Add(xenstore.AppendMessage(nil, xenstore.Header{Op: xenstore.OpRead, RequestID: 1}, []byte("value")))
	f.Add(xenstore.AppendMessage(nil, xenstore.Header{Op: xenstore.OpWatchEvent, RequestID: 9}, []byte("/a\x001\x00")))
	f.Add(xenstore.AppendMessage(nil, xenstore.Header{Op: xenstore.OpError, RequestID: 1}, []byte("ENOENT\x00")))
	f.Add(xenstore.AppendMessage(nil, xenstore.Header{Op: xenstore.OpDirectoryPart, RequestID: 1}, []byte("5\x00a\x00\x00")))
	f.Fuzz(func(t *testing.T, wire []byte) {
		ours, theirs := net.Pipe()
		c := xenstore.New(ours, xenstore.Config{})
		go io.Copy(io.Discard, theirs)
		calls := doing(func() error {
			c.Watch(t.Context(), "/a")
			c.List(t.Context(), "/a")
			return c.Transaction(t.Context(), func(tx *xenstore.Tx) error { return tx.Write(t.Context(), "/a", "") })
		})
		theirs.Write(wire)
		theirs.Close()
		<-calls // whatever came: nothing hangs, nothing panics
		c.Close()
	})
}
