package mux

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// FuzzSession lets a peer send anything: frames that are mostly well formed, in
// any order, and now and then bytes that are no frame, to connections that end here
// and to relayed ones. Nothing panics; the link ends for a *ProtocolError or for
// silence only; every frame the session sends is right; and when the connections are
// closed no tuple and no byte of budget is left.
func FuzzSession(f *testing.F) {
	f.Add([]byte{1, 0, 0, 5, 0, 9, 4, 0, 3, 6, 0, 0})
	f.Add([]byte{1, 0, 0, 1, 0, 0})
	f.Add([]byte{1, 1, 0, 5, 1, 255, 5, 1, 255, 3, 1, 0})
	f.Add([]byte{1, 8, 0, 5, 8, 9, 0, 136, 0, 5, 8, 3, 6, 8, 0, 0, 136, 0, 4, 8, 3, 3, 8, 0})
	f.Add([]byte{1, 40, 0, 5, 40, 9, 1, 40, 0, 2, 24, 0, 5, 24, 1, 4, 24, 3, 0, 0, 200})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 3*100 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			b := NewBudget(6*startWindow, nil)
			v := &fuzzVictim{}
			k := &talker{}
			v.victim = newVictim(t, Config{Budget: b, MaxConns: 8, Route: func(local, _ uint32) Route {
				if local == 8 {
					return Route{Acceptor: refuser{}, Relay: k}
				}
				return Route{Acceptor: v.accepted}
			}})
			v.k = k
			go echoAll(v.accepted)
			_ = v.s.Send(k, Packet{Local: 40001, Remote: 8, Type: typeStream, Op: opRequest}, nil)
			go func() {
				if c, err := v.s.Dial(t.Context(), 40000, 7); err == nil {
					v.accepted <- c
				}
			}()
			for ; len(data) >= 3 && v.end.Err() == nil; data = data[3:] {
				v.fuzzed(data[0], data[1], data[2])
			}
			if err := v.end.Err(); err != nil {
				var lied *ProtocolError
				if !errors.As(err, &lied) && err != ErrSilent {
					t.Errorf("link ended: %v", err)
				}
			} else {
				time.Sleep(2 * lingerTime) // the echoes see their half-closes
			}
			v.s.Withdraw(k)
			v.stop()
			v.settle()
			close(v.accepted)
			v.settle()
			if n := v.s.Stats().Open; n != 0 || b.Used() != 0 {
				t.Errorf("%d tuples and %d bytes left", n, b.Used())
			}
		})
	})
}

func echoAll(conns <-chan *Conn) {
	for c := range conns {
		go func() {
			_, _ = io.Copy(c, c)
			c.Close()
		}()
	}
}

// talker is a Relay that answers at once, as far as a kernel may: with RESPONSE to a
// REQUEST, with the same data, with RST to SHUTDOWN of both directions.
type talker struct{ sockets }

// Deliver implements Relay.
func (k *talker) Deliver(s *Session, p Packet, a, b []byte) bool {
	if !k.sockets.Deliver(s, p, a, b) {
		return false
	}
	answer := Packet{Local: p.Local, Remote: p.Remote, Type: p.Type, BufAlloc: 1 << 16}
	switch {
	case p.Op == opRequest:
		answer.Op = opResponse
	case p.Op == opShutdown && p.Flags == shutBoth:
		answer.Op = opReset
	case p.Op == opData, p.Op == opCreditRequest:
		answer.Op = opCreditUpdate
	default:
		return true
	}
	_ = s.Send(k, answer, nil)
	if p.Op == opData {
		answer.Op, answer.Flags = opData, p.Flags
		go func() { _ = s.Send(k, answer, make([]byte, 100)) }()
	}
	return true
}

// fuzzVictim is a victim with a Relay.
type fuzzVictim struct {
	*victim
	k *talker
}

// fuzzed sends one frame, or something else, as three bytes say.
func (v *fuzzVictim) fuzzed(op, conn, arg byte) {
	h := header{src: 1000 + uint32(conn%4), dst: 7, op: uint16(op % 8), bufAlloc: 64 << 10}
	if conn&0x10 != 0 {
		h.src, h.dst = 7, 40000 // what the session dialed
	}
	if conn&0x08 != 0 { // relayed
		if h.dst++; conn&0x10 != 0 {
			h.src, h.dst = 8, 40001
		}
	}
	if conn&0x20 != 0 {
		h.typ = typeSeqpacket
	}
	if conn&0x40 != 0 {
		h.bufAlloc, h.fwdCnt = uint32(arg)<<20, uint32(arg)
	}
	var payload []byte
	switch h.op {
	case 0: // time, or the session's frames are taken, or no frame, or a stall
		if conn&0x80 != 0 {
			v.k.fill(arg&1 == 0)
			v.s.Wake()
			return
		}
		switch arg % 4 {
		case 0:
			time.Sleep(time.Duration(arg) * 10 * time.Millisecond)
			return
		case 1, 2:
			v.frames()
			return
		}
		if arg > 200 {
			if v.peer.end.Lying() < 60<<10 {
				v.raw(make([]byte, int(arg)&^7))
			}
			v.settle()
			return
		}
		h.op = opCreditUpdate
	case opShutdown, opReset:
		h.flags = uint32(arg & 7)
	case opData:
		payload = make([]byte, int(arg)*64)
	}
	if v.peer.end.Lying()+frameSize(len(payload)) > 64<<10 { // the stall has to end
		v.k.fill(false)
		v.s.Wake()
		v.settle()
	}
	v.send(h, payload)
}
