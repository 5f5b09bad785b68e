package afvsock

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"xvsock/bridge/vhost"
	"xvsock/mux"
	"xvsock/vsock"
)

var sameParcels = []cmp.Option{cmp.AllowUnexported(parcel{}, sentFrame{}), cmpopts.EquateEmpty()}

func rst(src, dst uint32) parcel {
	return parcel{h: vhost.Header{Src: src, Dst: dst, Type: 1, Op: 3}}
}

func TestWhatTheKernelSends(t *testing.T) {
	refused := &mux.ResetError{Reason: mux.ReasonDenied, Dial: true}
	head := vhost.Header{Src: 5000, Dst: 80, Type: 1, Op: 1, BufAlloc: 1 << 18, FwdCnt: 7}
	with := func(f func(*vhost.Header)) vhost.Header {
		h := head
		f(&h)
		return h
	}
	passed := mux.Packet{Local: 5000, Remote: 80, Type: 1, Op: 1, BufAlloc: 1 << 18, FwdCnt: 7}
	packet := func(f func(*mux.Packet)) []sentFrame {
		p := passed
		f(&p)
		return []sentFrame{{cid: 5, p: p}}
	}
	tests := []struct {
		name  string
		h     vhost.Header
		data  string
		err   error // of Stack.Send
		link  []sentFrame
		reply []parcel
	}{
		{name: "REQUEST goes to the link with ports as seen from here", h: head, link: packet(func(*mux.Packet) {})},
		{name: "data goes to the link as it is", h: with(func(h *vhost.Header) { h.Op = 5 }), data: "hello",
			link: []sentFrame{{cid: 5, data: "hello", p: mux.Packet{Local: 5000, Remote: 80, Type: 1, Op: 5, BufAlloc: 1 << 18, FwdCnt: 7}}}},
		{name: "SHUTDOWN keeps its two flags and no others", h: with(func(h *vhost.Header) { h.Op, h.Flags = 4, 0xFF }),
			link: packet(func(p *mux.Packet) { p.Op, p.Flags = 4, 3 })},
		{name: "the end of a SEQPACKET message is kept", h: with(func(h *vhost.Header) { h.Type, h.Op, h.Flags = 2, 5, 1 }),
			link: packet(func(p *mux.Packet) { p.Type, p.Op, p.Flags = 2, 5, 1 })},
		{name: "flags of a stream's data would end the link, so they are dropped", h: with(func(h *vhost.Header) { h.Op, h.Flags = 5, 1 }),
			link: packet(func(p *mux.Packet) { p.Op, p.Flags = 5, 0 })},
		{name: "RST has no reason", h: with(func(h *vhost.Header) { h.Op, h.Flags = 3, 2 }), link: packet(func(p *mux.Packet) { p.Op = 3 })},

		{name: "port 1 is refused", h: with(func(h *vhost.Header) { h.Dst = 1 }), reply: []parcel{rst(1, 5000)}},
		{name: "port 1 is refused to root too", h: with(func(h *vhost.Header) { h.Src, h.Dst = 600, 1 }), reply: []parcel{rst(1, 600)}},
		{name: "port 4 is refused from a port that anybody may bind", h: with(func(h *vhost.Header) { h.Src, h.Dst = 1024, 4 }), reply: []parcel{rst(4, 1024)}},
		{name: "port 4 is open from a port below 1024", h: with(func(h *vhost.Header) { h.Src, h.Dst = 1023, 4 }),
			link: packet(func(p *mux.Packet) { p.Local, p.Remote = 1023, 4 })},
		{name: "a port of bridge.deny is refused", h: with(func(h *vhost.Header) { h.Dst = 99 }), reply: []parcel{rst(99, 5000)}},
		{name: "data to a denied port is the link's to judge", h: with(func(h *vhost.Header) { h.Op, h.Dst = 5, 99 }),
			link: packet(func(p *mux.Packet) { p.Op, p.Remote = 5, 99 })},

		{name: "what the link refuses is reset", h: head, err: refused, reply: []parcel{rst(80, 5000)}},
		{name: "data of a connection that is gone is reset", h: with(func(h *vhost.Header) { h.Op = 5 }), data: "x", err: refused, reply: []parcel{rst(80, 5000)}},
		{name: "data without a link is reset and not kept", h: with(func(h *vhost.Header) { h.Op = 5 }), data: "x", err: vsock.ErrNoLink, reply: []parcel{rst(80, 5000)}},
		{name: "any other error resets", h: head, err: errors.New("no"), reply: []parcel{rst(80, 5000)}},
		{name: "RST is answered by nothing", h: with(func(h *vhost.Header) { h.Op = 3 }), err: refused},
		{name: "a SEQPACKET connection is reset as one", h: with(func(h *vhost.Header) { h.Type = 2 }), err: refused,
			reply: []parcel{{h: vhost.Header{Src: 80, Dst: 5000, Type: 2, Op: 3}}}},

		{name: "no type 0", h: with(func(h *vhost.Header) { h.Type, h.Op = 0, 5 })},
		{name: "no type 3", h: with(func(h *vhost.Header) { h.Type, h.Op = 3, 5 })},
		{name: "no operation 0", h: with(func(h *vhost.Header) { h.Op = 0 })},
		{name: "no operation 8", h: with(func(h *vhost.Header) { h.Op = 8 })},
		{name: "no payload but of data", h: with(func(h *vhost.Header) { h.Op = 6 }), data: "x"},
		{name: "a connect to port 0 fails at once", h: with(func(h *vhost.Header) { h.Dst = 0 }), reply: []parcel{rst(0, 5000)}},
		{name: "a connect to the port any fails at once", h: with(func(h *vhost.Header) { h.Dst = vsock.PortAny }), reply: []parcel{rst(vsock.PortAny, 5000)}},
		{name: "the most that a packet carries", h: with(func(h *vhost.Header) { h.Op, h.BufAlloc, h.FwdCnt = 5, 0, 0 }), data: strings.Repeat("x", vhost.MaxPayload),
			link: []sentFrame{{cid: 5, data: strings.Repeat("x", vhost.MaxPayload), p: mux.Packet{Local: 5000, Remote: 80, Type: 1, Op: 5}}}},
		{name: "a byte more than a packet carries", h: with(func(h *vhost.Header) { h.Op = 5 }), data: strings.Repeat("x", vhost.MaxPayload+1)},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{Deny: func(p uint32) bool { return p == 99 }}, Peer{5, 5})
				r.stack.send = func(sentFrame) error { return tc.err }
				r.run()
				defer r.end()
				d, _ := r.device(5)
				d.in <- parcel{tc.h, tc.data}
				synctest.Wait()
				if diff := cmp.Diff(tc.link, r.stack.got(), sameParcels...); diff != "" {
					t.Errorf("to the link (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(tc.reply, d.taken(), sameParcels...); diff != "" {
					t.Errorf("to the kernel (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestTheWayToTheLinkNeverWaitsForTheKernel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, Peer{5, 5}).run()
		defer r.end()
		d, _ := r.device(5)
		d.allow(0)
		for port := range uint32(maxReplies) {
			d.in <- parcel{h: vhost.Header{Src: 5000 + port, Dst: 1, Type: 1, Op: 1}} // to be refused
		}
		d.in <- parcel{h: vhost.Header{Src: 5000, Dst: 80, Type: 1, Op: 1}}
		synctest.Wait()
		if got := r.stack.got(); len(got) != 1 {
			t.Errorf("the link got %d packets while the kernel took nothing, want 1", len(got))
		}
		d.allow(-1)
		synctest.Wait()
		for n, p := range d.taken() {
			if p != rst(1, 5000+uint32(n)) {
				t.Fatalf("RST %d = %+v", n, p)
			}
		}
	})
}

func TestTheKernelIsClosedWhenItTakesNoResets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, Peer{5, 5}).run()
		defer r.end()
		d, i := r.device(5)
		d.allow(0)
		for port := range uint32(maxReplies) {
			d.in <- parcel{h: vhost.Header{Src: 5000 + port, Dst: 1, Type: 1, Op: 1}}
		}
		synctest.Wait()
		if err := i.failure(); err != nil {
			t.Fatalf("failed with room in the list: %v", err)
		}
		d.in <- parcel{h: vhost.Header{Src: 80, Dst: 1, Type: 1, Op: 1}}
		pass(minReopen)
		if !d.gone() {
			t.Error("one RST more than there may be, and the instance is still open")
		}
		if _, again := r.device(5); again == i {
			t.Error("the instance was not made again")
		}
		if n := r.logged("too many wait"); n != 1 {
			t.Errorf("%d log lines, want 1", n)
		}
	})
}

func TestABugCostsOnlyItsInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{}, Peer{5, 5}, Peer{6, 6})
		r.stack.send = func(f sentFrame) error {
			if f.cid == 5 {
				panic("oops")
			}
			return nil
		}
		r.run()
		defer r.end()
		five, _ := r.device(5)
		six, _ := r.device(6)
		five.in <- parcel{h: vhost.Header{Src: 5000, Dst: 80, Type: 1, Op: 1}}
		pass(minReopen)
		if !five.gone() || six.gone() {
			t.Errorf("closed: the one with the bug %v, the other %v", five.gone(), six.gone())
		}
		if r.logged("oops") == 0 {
			t.Error("nothing was logged")
		}
	})
}
