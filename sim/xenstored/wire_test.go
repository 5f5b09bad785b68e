package xenstored_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/sim/xenstored"
	"xvsock/xenstore"
)

// xenstoreEINVAL is what a hook's error without a name on the wire becomes.
const xenstoreEINVAL = syscall.EINVAL

// raw speaks the protocol without a client.
type raw struct {
	*testing.T
	io.ReadWriteCloser
	last uint32
}

func newRaw(t *testing.T, conn io.ReadWriteCloser) *raw {
	t.Cleanup(func() { conn.Close() })
	return &raw{T: t, ReadWriteCloser: conn}
}

// ask sends a request.
func (r *raw) ask(op xenstore.Op, tx uint32, payload string) {
	r.Helper()
	r.last++
	b := xenstore.AppendMessage(nil, xenstore.Header{Op: op, RequestID: r.last, TransactionID: tx}, []byte(payload))
	if n, err := r.Write(b); err != nil || n != len(b) {
		r.Fatalf("write: %d, %v", n, err)
	}
}

// next reads a message, as "<op> <payload>".
func (r *raw) next() string {
	r.Helper()
	b := make([]byte, xenstore.HeaderSize)
	if _, err := io.ReadFull(r, b); err != nil {
		r.Fatal(err)
	}
	h, err := xenstore.ParseHeader(b)
	if err != nil {
		r.Fatal(err)
	}
	payload := make([]byte, h.Length)
	if _, err := io.ReadFull(r, payload); err != nil {
		r.Fatal(err)
	}
	return fmt.Sprintf("%v %q", h.Op, payload)
}

// quiet checks that nothing is to be read.
func (r *raw) quiet() {
	r.Helper()
	got := make(chan string, 1)
	r.ask(xenstore.OpGetDomainPath, 0, "77\x00")
	got <- r.next()
	if m := <-got; m != `get domain path "/local/domain/77\x00"` {
		r.Fatalf("unasked: %s", m)
	}
}

func TestRequestsOnTheWire(t *testing.T) {
	long := strings.Repeat("x", 2049)
	for _, c := range []struct {
		name    string
		op      xenstore.Op
		tx      uint32
		payload string
		want    string
	}{
		{"a read", xenstore.OpRead, 0, "domid\x00", `read "5"`},
		{"a read without its NUL", xenstore.OpRead, 0, "domid", `error "EINVAL\x00"`},
		{"a read of two", xenstore.OpRead, 0, "domid\x00domid\x00", `error "EINVAL\x00"`},
		{"a read of nothing", xenstore.OpRead, 0, "", `error "EINVAL\x00"`},
		{"a read of an empty path", xenstore.OpRead, 0, "\x00", `error "EINVAL\x00"`},
		{"a path with two slashes", xenstore.OpRead, 0, "/local//domain\x00", `error "EINVAL\x00"`},
		{"a path with a slash at its end", xenstore.OpRead, 0, "/local/domain/\x00", `error "EINVAL\x00"`},
		{"a path with a dot", xenstore.OpRead, 0, "/local/domain/5/..\x00", `error "EINVAL\x00"`},
		{"a path that is too long", xenstore.OpRead, 0, "/" + long + "\x00", `error "EINVAL\x00"`},
		{"the root", xenstore.OpRead, 0, "/\x00", `error "EACCES\x00"`},
		{"a node below one that may not be read", xenstore.OpRead, 0, "/none\x00", `error "EACCES\x00"`},
		{"a node below one that may be read", xenstore.OpRead, 0, "data/none\x00", `error "ENOENT\x00"`},
		{"a list of nothing", xenstore.OpDirectory, 0, "data\x00", `list ""`},
		{"a list", xenstore.OpDirectory, 0, "/local/domain/5\x00", `list "domid\x00data\x00"`},
		{"permissions", xenstore.OpGetPerms, 0, "data\x00", `get permissions "n5\x00r5\x00"`},
		{"permissions of a special path", xenstore.OpGetPerms, 0, "@releaseDomain\x00", `error "EINVAL\x00"`},
		{"a write", xenstore.OpWrite, 0, "data/a\x00b\x00c", `write "OK\x00"`},
		{"a write without a path", xenstore.OpWrite, 0, "data", `error "EINVAL\x00"`},
		{"a write to what may only be read", xenstore.OpWrite, 0, "domid\x006", `error "EACCES\x00"`},
		{"a node where there is one", xenstore.OpMkdir, 0, "data\x00", `mkdir "OK\x00"`},
		{"removing what is not there", xenstore.OpRemove, 0, "data/a\x00", `remove "OK\x00"`},
		{"removing below what is not there", xenstore.OpRemove, 0, "data/a/b\x00", `error "ENOENT\x00"`},
		{"removing the root", xenstore.OpRemove, 0, "/\x00", `error "EACCES\x00"`},
		{"setting permissions", xenstore.OpSetPerms, 0, "data\x00n5\x00b6\x00", `set permissions "OK\x00"`},
		{"setting none", xenstore.OpSetPerms, 0, "data\x00", `error "EINVAL\x00"`},
		{"setting what is none", xenstore.OpSetPerms, 0, "data\x00x5\x00", `error "EINVAL\x00"`},
		{"giving a node away", xenstore.OpSetPerms, 0, "data\x00n6\x00", `error "EPERM\x00"`},
		{"giving a node to nobody", xenstore.OpSetPerms, 0, "data\x00n99\x00", `error "ENOENT\x00"`},
		{"too many permissions", xenstore.OpSetPerms, 0, "data\x00n5\x00" + strings.Repeat("r6\x00", 5), `error "ENOSPC\x00"`},
		{"permissions of an unknown special path", xenstore.OpSetPerms, 0, "@none\x00n5\x00", `error "EINVAL\x00"`},
		{"a request in no transaction", xenstore.OpRead, 9, "domid\x00", `error "ENOENT\x00"`},
		{"the end of no transaction", xenstore.OpTransactionEnd, 0, "T\x00", `error "ENOENT\x00"`},
		{"an end that is none", xenstore.OpTransactionEnd, 0, "X\x00", `error "EINVAL\x00"`},
		{"who is introduced", xenstore.OpIsDomainIntroduced, 0, "0\x00", `error "EACCES\x00"`},
		{"a type that is none", 99, 0, "", `error "ENOSYS\x00"`},
		{"a watch without a token", xenstore.OpWatch, 0, "data\x00", `error "EINVAL\x00"`},
		{"a watch on no path", xenstore.OpWatch, 0, "a//b\x001\x00", `error "EINVAL\x00"`},
		{"the end of no watch", xenstore.OpUnwatch, 0, "data\x001\x00", `error "ENOENT\x00"`},
		{"a part of a list", xenstore.OpDirectoryPart, 0, "/local/domain/5\x006\x00", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRaw(t, newHost(t).Connect(5))
			r.ask(c.op, c.tx, c.payload)
			got := r.next()
			if c.want == "" { // the generation is not foreseen
				if !strings.HasSuffix(got, `\x00data\x00\x00"`) {
					t.Fatal(got)
				}
				return
			}
			want(t, got, c.want)
		})
	}
}

func TestAWatchAnswersThenFires(t *testing.T) {
	s := newHost(t)
	r := newRaw(t, s.Connect(5))
	r.ask(xenstore.OpWatch, 0, "data\x00t\x00")
	want(t, r.next(), `watch "OK\x00"`)
	want(t, r.next(), `watch event "data\x00t\x00"`)
	r.ask(xenstore.OpWatch, 0, "data\x00t\x00")
	want(t, r.next(), `error "EEXIST\x00"`)
	r.ask(xenstore.OpWatch, 0, "/local/domain/5\x00u\x00")
	want(t, r.next(), `watch "OK\x00"`)
	want(t, r.next(), `watch event "/local/domain/5\x00u\x00"`)
	// The event comes before the answer, each in the spelling of its watch.
	r.ask(xenstore.OpWrite, 0, "data/a/b\x001")
	want(t, r.next(), `watch event "data/a/b\x00t\x00"`)
	want(t, r.next(), `watch event "/local/domain/5/data/a/b\x00u\x00"`)
	want(t, r.next(), `write "OK\x00"`)
	// Removing tells those below by their own path, those above by what was
	// removed.
	r.ask(xenstore.OpWatch, 0, "data/a/b\x00v\x00")
	r.next()
	r.next()
	r.ask(xenstore.OpRemove, 0, "data/a\x00")
	want(t, r.next(), `watch event "data/a/b\x00v\x00"`)
	want(t, r.next(), `watch event "data/a\x00t\x00"`)
	want(t, r.next(), `watch event "/local/domain/5/data/a\x00u\x00"`)
	want(t, r.next(), `remove "OK\x00"`)
	r.ask(xenstore.OpResetWatches, 0, "\x00")
	want(t, r.next(), `reset watches "OK\x00"`)
	r.ask(xenstore.OpWrite, 0, "data/a\x001")
	want(t, r.next(), `write "OK\x00"`)
	want(t, s.Usage(5).Watches, 0)
}

func TestTheSameEventIsNotQueuedTwice(t *testing.T) {
	s := newHost(t)
	r := newRaw(t, s.Connect(5))
	r.ask(xenstore.OpWatch, 0, "data\x00t\x00")
	r.next()
	r.next()
	dom0 := connect(t, s, 0)
	for i := range 10 {
		must(t, dom0.Write(t.Context(), data5+"/a", fmt.Sprint(i)))
	}
	want(t, r.next(), `watch event "data/a\x00t\x00"`)
	r.quiet()
}

func TestMessagesMayComeInPieces(t *testing.T) {
	r := newRaw(t, newHost(t).Connect(5))
	b := xenstore.AppendMessage(nil, xenstore.Header{Op: xenstore.OpRead}, []byte("domid\x00"))
	b = append(b, b...)
	for _, piece := range [][]byte{b[:3], b[3:17], b[17:30], b[30:]} {
		if _, err := r.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	want(t, r.next(), `read "5"`)
	want(t, r.next(), `read "5"`)
}

func TestAnOverlongMessageEndsTheConnection(t *testing.T) {
	s := newHost(t)
	r := newRaw(t, s.Connect(5))
	b := xenstore.AppendMessage(nil, xenstore.Header{Op: xenstore.OpWrite}, make([]byte, xenstore.MaxPayload+1))
	if _, err := r.Write(b); !errors.Is(err, io.ErrClosedPipe) {
		t.Fatal(err)
	}
	if _, err := r.Read(b); err != io.EOF {
		t.Fatal(err)
	}
	want(t, s.Usage(5).Connections, 0)
}

func TestADomainThatDoesNotReadHoldsUpOnlyItself(t *testing.T) {
	inBubble(t, func(t *testing.T, s *xenstored.Server) {
		r := newRaw(t, s.Connect(5))
		for range 20 {
			r.ask(xenstore.OpRead, 0, "domid\x00")
		}
		asked := make(chan struct{})
		go func() {
			r.ask(xenstore.OpRead, 0, "domid\x00")
			close(asked)
		}()
		synctest.Wait()
		select {
		case <-asked:
			t.Fatal("a 21st unread answer")
		default:
		}
		must(t, connect(t, s, 6).Write(t.Context(), data6+"/a", "1"))
		want(t, r.next(), `read "5"`)
		<-asked
	})
}

func TestEventsThatAreNotReadAreLostInTime(t *testing.T) {
	inBubble(t, func(t *testing.T, s *xenstored.Server) {
		r := newRaw(t, s.Connect(5))
		r.ask(xenstore.OpWatch, 0, "data\x00t\x00")
		r.next()
		r.next()
		dom0 := connect(t, s, 0)
		must(t, dom0.Write(t.Context(), data5+"/old", "1"))
		time.Sleep(15 * time.Second)
		must(t, dom0.Write(t.Context(), data5+"/new", "1"))
		time.Sleep(10 * time.Second)
		want(t, r.next(), `watch event "data/new\x00t\x00"`)
		r.quiet()
	})
}

func TestUnreadEventsAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, s *xenstored.Server) {
		r := newRaw(t, s.Connect(5))
		token := strings.Repeat("t", 3900)
		r.ask(xenstore.OpWatch, 0, "data\x00"+token+"\x00")
		r.next()
		r.next()
		dom0 := connect(t, s, 0)
		for i := range 1000 {
			must(t, dom0.Write(t.Context(), fmt.Sprint(data5, "/", i), "1"))
		}
		events := 0
		r.ask(xenstore.OpRead, 0, "domid\x00")
		for strings.HasPrefix(r.next(), "watch event") {
			events++
		}
		if events < 600 || events > 672 { // of about 3930 bytes in 2.5 MiB
			t.Fatalf("%d events", events)
		}
	})
}

func FuzzServer(f *testing.F) {
	f.Add(xenstore.AppendMessage(nil, xenstore.Header{Op: xenstore.OpWatch}, []byte("data\x00t\x00")))
	f.Add(xenstore.AppendMessage(nil, xenstore.Header{Op: xenstore.OpSetPerms}, []byte("data\x00n5\x00")))
	f.Add(append(
		xenstore.AppendMessage(nil, xenstore.Header{Op: xenstore.OpTransactionStart}, []byte{0}),
		xenstore.AppendMessage(nil, xenstore.Header{Op: xenstore.OpDirectoryPart, TransactionID: 1}, []byte("/\x0099999999999\x00"))...))
	f.Fuzz(func(t *testing.T, wire []byte) {
		s := xenstored.New()
		defer s.Close()
		s.Introduce(5)
		for _, dom := range []*raw{newRaw(t, s.Connect(0)), newRaw(t, s.Connect(5))} {
			go io.Copy(io.Discard, dom)
			dom.Write(wire)
			dom.Close()
		}
		if u := s.Usage(5); u.Connections != 0 || u.Watches != 0 || u.Transactions != 0 {
			t.Fatalf("left %+v", u)
		}
		s.Release(5)
	})
}
