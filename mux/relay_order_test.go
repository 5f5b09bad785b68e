package mux

import (
	"fmt"
	"slices"
	"testing"

	"xvsock/mux/muxtest"
)

// clogged is a relayed connection whose ring towards the peer is full.
func clogged(t *testing.T) (*victim, *sockets) {
	v, k := relaying(t, Config{})
	v.establish(k)
	v.clog()
	return v, k
}

// unclog takes what fills the ring, and returns what comes after it on the
// connection.
func (v *victim) unclog() []header {
	v.t.Helper()
	var list []header
	for range 3 {
		list = append(list, v.frames()...)
		v.settle()
	}
	return slices.DeleteFunc(list, func(h header) bool { return h.dst != 1000 })
}

// Frames without payload never block who sends them, however full the ring: each
// kind waits as one frame with the last stamp, and they go in the protocol's order.
func TestFramesWithoutPayloadWaitByThemselves(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, k := clogged(t)
		defer v.stop()
		for i := range uint32(100) {
			for _, op := range []uint16{opCreditUpdate, opCreditRequest} {
				p := local(op)
				p.FwdCnt = i
				if err := v.s.Send(k, p, nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, flags := range []uint32{shutReceive, shutSend} {
			p := halfShut(flags)
			p.FwdCnt = 100
			if err := v.s.Send(k, p, nil); err != nil {
				t.Fatal(err)
			}
		}
		list := v.unclog()
		if got := ops(list); !slices.Equal(got, []uint16{opCreditRequest, opShutdown}) {
			t.Fatalf("%v", got)
		}
		for _, h := range list {
			if h.fwdCnt != 100 || h.bufAlloc != 256<<10 {
				t.Errorf("op %d is stamped %d, %d", h.op, h.bufAlloc, h.fwdCnt)
			}
		}
		if list[1].flags != shutBoth {
			t.Errorf("SHUTDOWN %d, want both", list[1].flags)
		}
	})
}

// What was sent before RST comes before it.
func TestRSTIsLast(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, k := relaying(t, Config{})
		defer v.stop()
		v.send(in(opRequest), nil)
		v.clog()
		for _, p := range []Packet{local(opResponse), local(opCreditUpdate), local(opCreditRequest), halfShut(shutBoth), local(opReset)} {
			if err := v.s.Send(k, p, nil); err != nil {
				t.Fatal(err)
			}
		}
		if got := ops(v.unclog()); !slices.Equal(got, []uint16{opResponse, opShutdown, opReset}) {
			t.Errorf("%v", got)
		}
		if n := v.s.Stats().Open; n != 0 {
			t.Errorf("%d tuples", n)
		}
	})
}

// What this side ends, it ends with RST alone.
func TestRSTOfThisSideReplacesWhatWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, k := clogged(t)
		defer v.stop()
		for _, p := range []Packet{local(opCreditRequest), halfShut(shutBoth)} {
			if err := v.s.Send(k, p, nil); err != nil {
				t.Fatal(err)
			}
		}
		v.s.Reset(all, ReasonRevoked)
		if err := v.s.Send(k, local(opData), []byte("x")); err != nil {
			t.Errorf("Send() = %v while RST waits, of which the relay was told", err)
		}
		if got := ops(v.unclog()); !slices.Equal(got, []uint16{opReset}) {
			t.Errorf("%v", got)
		}
	})
}

// A REQUEST that never left is taken back without a frame.
func TestAnUnsentRequestIsTakenBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, k := relaying(t, Config{})
		defer v.stop()
		v.clog()
		for _, op := range []uint16{opRequest, opReset} {
			if err := v.s.Send(k, local(op), nil); err != nil {
				t.Fatal(err)
			}
		}
		if list := v.unclog(); len(list) != 0 {
			t.Errorf("%v", ops(list))
		}
		if n := v.s.Stats().Open; n != 0 {
			t.Errorf("%d tuples", n)
		}
	})
}

// No stamp goes back, whatever waits for room in which order (pitfall 5).
func TestStampsNeverGoBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, k := relayingOver(t, Config{}, 4<<10)
		defer v.stop()
		v.establish(k)
		const rounds = 500
		go func() {
			for i := range uint32(rounds) {
				update, data := local(opCreditUpdate), local(opData)
				update.FwdCnt, data.FwdCnt = 2*i, 2*i+1
				if v.s.Send(k, update, nil) != nil || v.s.Send(k, data, make([]byte, 10+i*7)) != nil {
					t.Error("Send failed")
				}
			}
		}()
		var last, bytes uint32
		for {
			list := v.frames()
			if len(list) == 0 {
				break
			}
			for _, h := range list {
				if h.fwdCnt < last {
					t.Fatalf("op %d is stamped %d after %d", h.op, h.fwdCnt, last)
				}
				last, bytes = h.fwdCnt, bytes+h.size
			}
			if last < rounds {
				v.s.locked(v.s.ask) // what the session itself sends
			}
			v.settle()
		}
		if want := uint32(rounds*10 + 7*rounds*(rounds-1)/2); bytes != want || last != 2*rounds-1 {
			t.Errorf("%d bytes, want %d; the last stamp is %d", bytes, want, last)
		}
	})
}

// A payload of any length comes through in frames that fit, and the flags that end a
// message are on the last of them; an empty message is one frame.
func TestAMessageIsSplit(t *testing.T) {
	for _, ring := range []int{4 << 10, 64 << 10, 1 << 20} {
		for _, size := range []int{0, 1, 991, 992, 993, 16 << 10, 64 << 10, 200000} {
			t.Run(fmt.Sprintf("%d bytes through a ring of %d", size, ring), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					v, k := relayingOver(t, Config{}, ring)
					defer v.stop()
					h := in(opRequest)
					h.typ = typeSeqpacket
					v.send(h, nil)
					p := local(opResponse)
					p.Type = typeSeqpacket
					v.must(k, p, "")
					v.frames()
					p.Op, p.Flags = opData, seqpacketFlags
					sent := make(chan error, 1)
					go func() { sent <- v.s.Send(k, p, make([]byte, size)) }()
					var got, frames int
					for ended := false; !ended; {
						v.settle()
						list := v.frames()
						if len(list) == 0 {
							t.Fatalf("%d bytes, and no more", got)
						}
						for _, h := range list {
							if h.op != opData {
								continue
							}
							if ended || h.typ != typeSeqpacket || h.flags&^seqpacketFlags != 0 {
								t.Fatalf("frame %+v, ended %v", h, ended)
							}
							frames++
							got += int(h.size)
							ended = h.flags == seqpacketFlags
						}
					}
					if err := <-sent; err != nil || got != size {
						t.Errorf("%d bytes in %d frames, %v", got, frames, err)
					}
					v.expect()
				})
			})
		}
	}
}

// A Send that waits for room ends with its connection, its Relay and its link, of which
// the Relay is told once: an error would have it send a second RST.
func TestAWaitingSendEnds(t *testing.T) {
	for name, end := range map[string]func(v *victim, k *sockets){
		"RST":      func(v *victim, _ *sockets) { v.send(in(opReset), nil) },
		"Reset":    func(v *victim, _ *sockets) { v.s.Reset(all, ReasonRevoked) },
		"a lie":    func(v *victim, _ *sockets) { v.send(in(opResponse), nil) },
		"Withdraw": func(v *victim, k *sockets) { v.s.Withdraw(k) },
		"Close":    func(v *victim, _ *sockets) { v.s.Close() },
		"the link": func(v *victim, _ *sockets) { v.peer.end.Fail(muxtest.ErrGone) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				v, k := clogged(t)
				defer v.stop()
				sent := make(chan error, 1)
				go func() { sent <- v.s.Send(k, local(opData), make([]byte, 1000)) }()
				v.settle()
				select {
				case err := <-sent:
					t.Fatalf("Send() = %v without room", err)
				default:
				}
				end(v, k)
				if err := wait(t, sent); err != nil {
					t.Errorf("Send() = %v", err)
				}
				resets, lost := k.told()
				want := 1
				if name == "Withdraw" {
					want = 0
				}
				if n := len(resets) + lost + len(k.take()); n != want {
					t.Errorf("the relay is told %d times, want %d", n, want)
				}
			})
		})
	}
}

// A relayed connection has its share of the ring, as a Conn has, and no more.
func TestRelayedBulkIsShared(t *testing.T) {
	for _, ring := range []int{4 << 10, 64 << 10, 1 << 20} {
		bubble(t, func(t *testing.T) {
			v := bulk(t, ring, 2)
			defer v.stop()
			k := new(sockets)
			v.must(k, Packet{Local: 40000, Remote: 9, Type: typeStream, Op: opRequest}, "")
			for len(v.lying()) > 0 && !v.dialed(9) {
				v.take(v.lying()[0])
			}
			v.send(header{src: 9, dst: 40000, op: opResponse, bufAlloc: 1 << 30}, nil)
			go func() {
				for v.s.Send(k, Packet{Local: 40000, Remote: 9, Type: typeStream, Op: opData}, make([]byte, 100<<10)) == nil {
				}
			}()
			for range ring / (1 << 10) {
				if l := v.lying(); len(l) > 0 {
					v.take(l[0])
				}
			}
			shares := map[uint32]int{}
			for range 90 {
				list := v.lying()
				in := map[uint32]int{}
				for _, h := range list {
					in[h.dst] += frameSize(int(h.size))
				}
				for port, n := range in {
					if n > maxTurn {
						t.Fatalf("%d bytes of port %d's in the ring", n, port)
					}
				}
				shares[list[0].dst] += int(list[0].size)
				v.take(list[0])
			}
			least, most := 1<<30, 0
			for _, n := range shares {
				least, most = min(least, n), max(most, n)
			}
			if len(shares) != 3 || most > least+least/2 {
				t.Errorf("ring of %d: shares %v", ring, shares)
			}
		})
	}
}

// dialed says whether the REQUEST to the peer's port was taken.
func (v *victim) dialed(port uint32) bool {
	for _, h := range v.lying() {
		if h.op == opRequest && h.dst == port {
			return false
		}
	}
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	return v.s.table.get(tuple{40000, port}).(*relayed).pending == 0
}
