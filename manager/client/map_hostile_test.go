package client_test

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"xvsock/evtchn"
	"xvsock/grant"
	"xvsock/link"
	"xvsock/mux"
	"xvsock/ring"
	"xvsock/sim"
	"xvsock/vsock"
	"xvsock/xen"
)

// liar is the far side of a link by hand, with a ring of one page. It speaks on one
// connection.
type liar struct {
	t            *testing.T
	proc         *sim.Process
	header, ring grant.Pages
	tx, rx       evtchn.Channel
	near         []byte // the honest side's header
	sent         uint64
	frames       uint32
	writing      sync.Mutex // one poke after the other, so that none is lost
}

// newLiar makes a link between n, which maps if access says so, and a liar.
func newLiar(t *testing.T, n *node, access link.Access) (*liar, *link.Link) {
	t.Helper()
	home := n.dom.Host().Create(sim.DomainConfig{Name: "liar"})
	dom := link.NewDomain(n.id(), n.proc.Grants(), n.proc.Events(), nil)
	o, err := link.NewOffer(dom, home.ID(), link.Options{Access: access})
	if err != nil {
		t.Fatal(err)
	}
	terms := o.Terms()
	e := &liar{t: t, proc: home.NewProcess(), near: n.dom.Page(terms.Header)}
	t.Cleanup(e.proc.Kill)
	var errs [6]error
	e.header, errs[0] = e.proc.Grants().Share(n.id(), 1, grant.ReadOnly)
	e.ring, errs[1] = e.proc.Grants().Share(n.id(), 1, grant.ReadOnly)
	e.tx, errs[2] = e.proc.Events().Unbound(n.id())
	e.rx, errs[3] = e.proc.Events().Interdomain(n.id(), terms.Port)
	errs[4] = ring.Format(e.header.Bytes(), ring.Static{
		Generation: terms.Generation, TxSize: xen.PageSize, TxRefs: []uint32{uint32(e.ring.Refs()[0])},
	})
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	err = errors.Join(e.rx.Notify(), o.Bind(link.Terms{
		Generation: terms.Generation, Header: e.header.Refs()[0], Port: e.tx.Port(), Access: access,
	}))
	if err != nil {
		t.Fatal(err)
	}
	l, err := o.Link(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if l.Access() != access {
		t.Fatalf("the link reads by %v", l.Access())
	}
	return e, l
}

// send sends a frame with n bytes of payload on the connection, as far as there is room.
func (e *liar) send(op uint16, n int) {
	f := make([]byte, (32+n+7)&^7)
	le := binary.LittleEndian
	le.PutUint32(f[0:], 0xC000_0000)
	le.PutUint32(f[4:], 7)
	le.PutUint32(f[8:], uint32(n))
	le.PutUint16(f[12:], 1)
	le.PutUint16(f[14:], op)
	le.PutUint32(f[20:], 1<<20)
	le.PutUint32(f[28:], e.frames)
	for try := 0; e.sent+uint64(len(f))-e.taken() > xen.PageSize; try++ {
		if try == 50 {
			return
		}
		e.tx.Notify() // it may have seen a word in the middle of a change
		time.Sleep(20 * time.Microsecond)
	}
	e.poke(e.ring, func(page []byte) {
		for i, b := range f {
			page[(e.sent+uint64(i))%xen.PageSize] = b
		}
	})
	e.frames++
	e.sent += uint64(len(f))
	e.poke(e.header, func(page []byte) {
		le.PutUint64(page[ring.MovingOffset+8:], e.sent)
		le.PutUint64(page[ring.MovingOffset+16:], ^e.sent)
	})
	e.tx.Notify()
}

// taken is as far as the honest side has read.
func (e *liar) taken() uint64 {
	return binary.LittleEndian.Uint64(sim.Peek(e.near)[ring.MovingOffset+24:])
}

// poke changes a page.
func (e *liar) poke(page grant.Pages, f func([]byte)) {
	e.writing.Lock()
	defer e.writing.Unlock()
	sim.Poke(page.Bytes(), f)
}

// flip changes one bit of a page, and soon changes it back.
func (e *liar) flip(page grant.Pages, at int, bit byte) {
	for range 2 {
		e.poke(page, func(page []byte) { page[at] ^= bit })
	}
}

// A peer that changes words and frames while they are read loses its own link at most,
// and for a lie: what is read in place is read once, then checked (behaviours 5 and 6).
// By copy it cannot do more.
func TestAPeerThatFlipsWhatIsReadHurtsItselfAlone(t *testing.T) {
	for name, spoil := range map[string]func(e *liar, r *rand.Rand){
		"frames": func(e *liar, r *rand.Rand) { e.flip(e.ring, r.IntN(xen.PageSize), 1<<r.IntN(8)) },
		"lengths": func(e *liar, r *rand.Rand) {
			// That of the frame that is read now, to and fro as fast as can be.
			at := e.taken()
			if at == 0 {
				return // REQUEST has none
			}
			at = (at + 8) % xen.PageSize
			word := e.ring.Bytes()[at : at+4]
			for i := range 100 {
				n := [...]uint32{1 << 31, 64}[i%2]
				sim.Poke(word, func(b []byte) { binary.LittleEndian.PutUint32(b, n) })
			}
		},
		"words": func(e *liar, r *rand.Rand) {
			e.flip(e.header, ring.MovingOffset+r.IntN(ring.MovingSize), 1<<r.IntN(8))
		},
	} {
		for _, access := range []link.Access{link.AccessCopy, link.AccessMap} {
			t.Run(name+", by "+access.String(), func(t *testing.T) {
				ends := make(map[link.Cause]int)
				for round := range 30 {
					ends[spoiled(t, access, spoil, rand.New(rand.NewPCG(7, uint64(round))))]++
				}
				t.Logf("ends: %v", ends)
			})
		}
	}
}

// spoiled lives through one link whose far side sends and spoils what it sends, and
// returns how it ended.
func spoiled(t *testing.T, access link.Access, spoil func(*liar, *rand.Rand), r *rand.Rand) link.Cause {
	const frames = 100
	n := newNode(t, sim.NewTest(t).Create(sim.DomainConfig{Name: "honest"}))
	stack := vsock.NewStack(vsock.Config{Self: n.id()}) // without a Guard
	e, l := newLiar(t, n, access)
	listener, err := stack.Listen(7)
	if err != nil {
		t.Fatal(err)
	}
	var users sync.WaitGroup
	var received atomic.Int64
	users.Go(func() {
		if c, err := listener.Accept(); err == nil {
			got, _ := io.Copy(io.Discard, c)
			received.Store(got)
			c.Close()
		}
	})
	served := make(chan error, 1)
	go func() { served <- stack.Serve(l, vsock.ToPeer, nil) }()
	stop := make(chan struct{})
	users.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				spoil(e, r)
			}
		}
	})
	e.send(1, 0) // REQUEST
	for i := 0; i < frames && l.Err() == nil; i++ {
		e.send(5, 64) // RW
	}
	for end := time.Now().Add(50 * time.Millisecond); e.taken() < e.sent && l.Err() == nil && time.Now().Before(end); {
		e.tx.Notify()
		time.Sleep(100 * time.Microsecond)
	}
	close(stop)
	l.End(link.Closed, nil)
	l.Wake()
	<-served
	listener.Close()
	stack.Close()
	users.Wait()
	if got := received.Load(); got > frames*1024 {
		t.Errorf("%d bytes came of %d frames", got, frames)
	}
	cause := link.CauseOf(l.Err())
	if errors.Is(l.Err(), mux.ErrBug) || cause != link.Broken && cause != link.Closed && !errors.Is(l.Err(), ring.ErrGone) {
		t.Errorf("the link ended with %v", l.Err())
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	return cause
}
