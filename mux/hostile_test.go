package mux

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/mux/muxtest"
)

// peer is the other side of a session, played frame by frame.
type peer struct {
	t   testing.TB
	end *muxtest.End
	s   *Session // the other side; nil: it is not in a bubble
	seq uint32
	got uint32 // frames taken
}

// victim is a session with a peer that may do anything. It runs in a bubble:
// after settle, all that the session does about what was sent is done.
type victim struct {
	*peer
	end      *muxtest.End
	accepted backlog
	done     chan error
}

func newVictim(t testing.TB, cfg Config) *victim {
	return newVictimOver(t, cfg, 64<<10, heated)
}

// newVictimOver is newVictim with rings of some size and something between the
// session and its end. before sees the session before it runs.
func newVictimOver(t testing.TB, cfg Config, ring int, over func(*muxtest.End) Transport, before ...func(*Session)) *victim {
	v := &victim{accepted: make(backlog, 4)}
	var other *muxtest.End
	v.end, other = muxtest.Pipe(ring)
	v.peer = &peer{t: t, end: other}
	if cfg.Route == nil {
		cfg.Route = v.accepted.listen
	}
	v.s = NewSession(over(v.end), cfg)
	for _, f := range before {
		f(v.s)
	}
	v.done = run(v.s)
	return v
}

func (v *victim) stop() {
	v.s.Close()
	<-v.done
}

// raw puts bytes into the ring as they are.
func (p *peer) raw(b []byte) {
	x, y := p.end.Reserve(len(b))
	if len(x)+len(y) == 0 {
		p.t.Fatalf("no room for %d bytes", len(b))
	}
	scatter(x, y, 0, b)
	if err := p.end.Commit(len(b)); err != nil {
		p.t.Logf("Commit: %v", err)
	}
	_ = p.end.Flush()
}

// encode makes a frame of h, with the next sequence number, and payload.
func (p *peer) encode(h header, payload []byte) []byte {
	h.seq = p.seq
	p.seq++
	if h.typ == 0 {
		h.typ = typeStream
	}
	h.size = uint32(len(payload))
	b := make([]byte, frameSize(len(payload)))
	h.encode((*[headerSize]byte)(b))
	copy(b[headerSize:], payload)
	return b
}

// send sends a frame and waits until the session has dealt with it.
func (p *peer) send(h header, payload []byte) {
	p.raw(p.encode(h, payload))
	p.settle()
}

func (p *peer) settle() {
	settle(p.s)
	_ = p.end.Look() // it refreshes what the end knows of room
}

// frames takes all frames the session has sent.
func (p *peer) frames() []header {
	p.t.Helper()
	settle(p.s)
	var list []header
	for {
		a, b, _ := p.end.Peek(headerSize)
		if len(a)+len(b) == 0 {
			_ = p.end.Flush()
			return list
		}
		var raw [headerSize]byte
		gather(raw[:], a, b, 0)
		h := decodeHeader(&raw)
		if err := h.check(64<<10, p.got); err != nil {
			p.t.Fatalf("session sent a wrong frame: %v", err)
		}
		p.got++
		p.end.Discard(frameSize(int(h.size)))
		h.seq = 0
		list = append(list, h)
	}
}

// ops returns the operations of frames.
func ops(list []header) []uint16 {
	var ops []uint16
	for _, h := range list {
		ops = append(ops, h.op)
	}
	return ops
}

// expect fails unless the session sent exactly these operations.
func (p *peer) expect(want ...uint16) []header {
	p.t.Helper()
	list := p.frames()
	if !slices.Equal(ops(list), want) {
		p.t.Fatalf("session sent ops %v, want %v", ops(list), want)
	}
	return list
}

// in is a header from the peer's port 1000 to the session's port 7, with the
// credit of an ordinary receiver.
func in(op uint16) header {
	return header{src: 1000, dst: 7, op: op, bufAlloc: 64 << 10}
}

// connect makes an established connection from the peer's port.
func (v *victim) connect(port uint32) *Conn {
	v.t.Helper()
	h := in(opRequest)
	h.src = port
	v.send(h, nil)
	v.expect(opResponse)
	return <-v.accepted
}

func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// Hostile #4 and R11: every lie of a frame about itself breaks the link.
func TestFrameLiesBreakTheLink(t *testing.T) {
	frame := func(edit func(*header)) func(*peer) []byte {
		return func(p *peer) []byte {
			h := in(opCreditUpdate)
			h.typ, h.seq = typeStream, p.seq
			edit(&h)
			b := make([]byte, headerSize)
			h.encode((*[headerSize]byte)(b))
			return b
		}
	}
	lies := map[string]func(p *peer) []byte{
		"half a header":               func(p *peer) []byte { return make([]byte, 16) },
		"one frame and eight bytes":   func(p *peer) []byte { return append(p.encode(in(opCreditUpdate), nil), make([]byte, 8)...) },
		"type 0":                      frame(func(h *header) { h.typ = 0 }),
		"type 3":                      frame(func(h *header) { h.typ = 3 }),
		"op 0":                        frame(func(h *header) { h.op = 0 }),
		"op 8":                        frame(func(h *header) { h.op = 8 }),
		"op 65535":                    frame(func(h *header) { h.op = 65535 }),
		"a payload without RW":        frame(func(h *header) { h.size = 1 }),
		"a payload that is not there": frame(func(h *header) { h.op, h.size = opData, 1 }),
		"a payload over the largest":  frame(func(h *header) { h.op, h.size = opData, 16<<10+1 }),
		"a payload of 2^31":           frame(func(h *header) { h.op, h.size = opData, 1<<31 }),
		"a payload of 2^32-1":         frame(func(h *header) { h.op, h.size = opData, 1<<32-1 }),
		"a payload of 2^32-32":        frame(func(h *header) { h.op, h.size = opData, 1<<32-32 }),
		"a frame left out":            frame(func(h *header) { h.seq++ }),
		"a frame again":               frame(func(h *header) { h.seq-- }),
		"flags on CREDIT_UPDATE":      frame(func(h *header) { h.flags = 1 }),
		"flags on stream data":        frame(func(h *header) { h.op, h.flags = opData, 1 }),
		"a third SHUTDOWN flag":       frame(func(h *header) { h.op, h.flags = opShutdown, 4 }),
		"a reason that is none":       frame(func(h *header) { h.op, h.flags = opReset, 8 }),
		"an unknown SEQPACKET flag":   frame(func(h *header) { h.typ, h.op, h.flags = typeSeqpacket, opData, 4 }),
	}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				v := newVictim(t, Config{})
				c := v.connect(1000)
				v.raw(lie(v.peer))
				err := wait(t, v.done)
				var lied *ProtocolError
				if !errors.As(err, &lied) {
					t.Fatalf("Run() = %v, want a *ProtocolError", err)
				}
				if v.end.Err() != error(err) {
					t.Errorf("link ended with %v, want %v", v.end.Err(), err)
				}
				if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) || !errors.As(err, &lied) {
					t.Errorf("Read() = %v, want ECONNRESET and why", err)
				}
			})
		})
	}
}

// A lie about a connection loses that connection, and no other.
func TestConnectionLiesLoseTheConnection(t *testing.T) {
	lies := map[string]func(v *victim){
		"#24 more data than credit": func(v *victim) {
			for range 5 {
				v.send(in(opData), make([]byte, 16<<10))
			}
		},
		"#24 one byte more than credit": func(v *victim) {
			for range 4 {
				v.send(in(opData), make([]byte, 16<<10))
			}
			v.send(in(opData), make([]byte, 1))
		},
		"#24 more acknowledged than sent": func(v *victim) {
			h := in(opCreditUpdate)
			h.fwdCnt = 1
			v.send(h, nil)
		},
		"#27 data after shutdown": func(v *victim) {
			h := in(opShutdown)
			h.flags = shutSend
			v.send(h, nil)
			v.send(in(opData), []byte("x"))
		},
		"REQUEST again":  func(v *victim) { v.send(in(opRequest), nil) },
		"RESPONSE to us": func(v *victim) { v.send(in(opResponse), nil) },
		"SEQPACKET data": func(v *victim) {
			h := in(opData)
			h.typ = typeSeqpacket
			v.send(h, []byte("x"))
		},
	}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				v := newVictim(t, Config{})
				defer v.stop()
				honest := v.connect(2000)
				defer honest.Close()
				c := v.connect(1000)
				defer c.Close()
				lie(v)
				last := v.expect(opReset)[0]
				if r := Reason(last.flags); r != ReasonProtocol || last.dst != 1000 {
					t.Errorf("RST %v to port %d, want protocol to 1000", r, last.dst)
				}
				if _, err := io.ReadAll(c); !errors.Is(err, syscall.ECONNRESET) && name != "#27 data after shutdown" {
					t.Errorf("Read() = %v, want ECONNRESET", err)
				}
				if n := v.s.Stats().Lies; n != 1 {
					t.Errorf("Lies = %d, want 1", n)
				}
				h := in(opData)
				h.src = 2000
				v.send(h, []byte("honest"))
				var b [6]byte
				if _, err := io.ReadFull(honest, b[:]); err != nil || string(b[:]) != "honest" {
					t.Errorf("the honest connection reads %q, %v", b, err)
				}
			})
		})
	}
}

// Hostile #24: what was promised in credit is never exceeded, whatever the
// peer's words do.
func TestCreditIsNeverExceeded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVictim(t, Config{})
		defer v.stop()
		h := in(opRequest)
		h.bufAlloc = 100
		v.send(h, nil)
		v.expect(opResponse)
		c := <-v.accepted
		defer c.Close()
		go func() { _, _ = c.Write(make([]byte, 1000)) }()
		sent := func() (n uint32) {
			for _, h := range v.frames() {
				n += h.size
			}
			return n
		}
		steps := []struct {
			name                string
			bufAlloc, fwd, want uint32
		}{
			{"the first credit", 100, 0, 100},
			{"the same again", 100, 0, 0},
			{"a smaller buffer, some of it taken", 50, 60, 10},
			{"a stamp from before, and a buffer as then", 100, 10, 50},
			{"less buffer than is in flight", 30, 100, 0},
			{"no buffer at all", 0, 100, 0},
			{"a buffer again", 10, 160, 10},
			{"the largest buffer", 1<<32 - 1, 170, 830},
		}
		for i, step := range steps {
			if i > 0 {
				h := in(opCreditUpdate)
				h.bufAlloc, h.fwdCnt = step.bufAlloc, step.fwd
				v.send(h, nil)
			}
			if n := sent(); n != step.want {
				t.Fatalf("%s: %d bytes sent, want %d", step.name, n, step.want)
			}
		}
	})
}

// Hostile #25: a reader that never reads stops its own connection only.
func TestSlowReaderStopsItselfOnly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPair(64<<10, Config{})
		defer p.stop()
		a1, b1 := p.connect(t, 5001)
		defer a1.Close()
		defer b1.Close()
		a2, b2 := p.connect(t, 5002)
		defer a2.Close()
		defer b2.Close()
		if err := a1.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		stuck := make(chan error)
		go func() {
			n, err := a1.Write(make([]byte, 1<<20))
			if n != startWindow {
				t.Errorf("wrote %d to a reader that does not read, want %d", n, startWindow)
			}
			stuck <- err
		}()
		p.settle()
		go func() { _, _ = io.Copy(b2, b2) }()
		for range 1000 {
			if _, err := a2.Write([]byte("ping")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(a2, make([]byte, 4)); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-stuck; !isTimeout(err) {
			t.Errorf("Write() = %v, want a timeout", err)
		}
	})
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// Hostile #27: a flood of wrong frames costs a bounded list, RST is answered by
// nothing, and the session goes on.
func TestResetStorm(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVictim(t, Config{})
		defer v.stop()
		const rounds, each = 200, 500
		for range rounds {
			for i := range each {
				h := in(opReset)
				if i%2 == 0 {
					h.op = opShutdown
				}
				h.src = uint32(5000 + i)
				v.raw(v.encode(h, nil))
			}
			v.settle() // the ring towards the peer is never emptied
		}
		st := v.s.Stats()
		if st.Strays != rounds*each || st.Open != 0 {
			t.Errorf("Stats = %+v, want %d strays", st, rounds*each)
		}
		answers := 64<<10/headerSize + len(v.s.tx.resets.list)
		if want := uint64(rounds*each/2 - answers); st.ResetsDropped != want {
			t.Errorf("ResetsDropped = %d, want %d", st.ResetsDropped, want)
		}
		for range 2 {
			v.frames() // the ring, then what waited
			v.settle()
		}
		v.connect(1000).Close()
	})
}

// Hostile #27: the tuples of connections that come and go are all given back,
// and a backlog that nobody empties refuses exactly what does not fit.
func TestBacklogIsExact(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := NewBudget(DefaultBudget, nil)
		v := newVictim(t, Config{Budget: b})
		defer v.stop()
		for round := range 1000 {
			for i := range cap(v.accepted) + 1 {
				h := in(opRequest)
				h.src = uint32(1000 + i)
				v.raw(v.encode(h, nil))
			}
			v.settle()
			want := []uint16{opResponse, opResponse, opResponse, opResponse}
			list := v.frames()
			slices.SortFunc(list, func(a, b header) int { return int(a.src) - int(b.src) })
			slices.SortStableFunc(list, func(a, b header) int { return int(a.op) - int(b.op) })
			if got := ops(list); !slices.Equal(got, append(want, opReset)) {
				t.Fatalf("round %d: answers %v, want 4 RESPONSE and a RST", round, got)
			}
			for i := range cap(v.accepted) {
				h := in(opReset)
				h.src = uint32(1000 + i)
				v.raw(v.encode(h, nil))
			}
			v.settle()
			for range cap(v.accepted) {
				c := <-v.accepted
				if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
					t.Fatalf("Read() = %v, want ECONNRESET", err)
				}
				c.Close()
			}
			if b.Used() != 0 || v.s.Stats().Open != 0 {
				t.Fatalf("round %d: %d bytes, %d tuples left", round, b.Used(), v.s.Stats().Open)
			}
		}
		v.expect()
	})
}

// A flood of REQUESTs is bounded by the budget and by MaxConns, and the rest is
// told so.
func TestRequestFloodIsBounded(t *testing.T) {
	for _, test := range []struct {
		name string
		cfg  Config
		most int
	}{
		{"by the budget", Config{Budget: NewBudget(24<<10, nil)}, 9},
		{"by the parent's budget", Config{Budget: NewBudget(1<<30, NewBudget(5*startWindow, nil))}, 4},
		{"by MaxConns", Config{MaxConns: 5}, 5},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := make(backlog, 100)
				test.cfg.Route = b.listen
				v := newVictim(t, test.cfg)
				defer v.stop()
				for i := range 50 {
					h := in(opRequest)
					h.src = uint32(1000 + i)
					v.raw(v.encode(h, nil))
				}
				v.settle()
				for _, h := range v.frames() {
					if h.op == opReset && Reason(h.flags) != ReasonBudget {
						t.Errorf("RST %v, want budget", Reason(h.flags))
					}
				}
				if len(b) != test.most || v.s.Stats().Open != test.most {
					t.Errorf("%d accepted, %d open, want %d", len(b), v.s.Stats().Open, test.most)
				}
				for range test.most {
					(<-b).Close()
				}
			})
		})
	}
}

// A peer that takes nothing out of the ring cannot make the session grow: a
// tuple stays taken until its RST is sent.
func TestUnsentResetsAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVictim(t, Config{MaxConns: 10})
		c := v.connect(999)
		defer c.Close()
		fill := make([]byte, 64<<10-2*headerSize-headerSize)
		go func() { _, _ = c.Write(fill) }()
		v.settle()
		for v.end.Lying() < 64<<10 { // what is left of the ring
			h := in(opShutdown)
			h.src = 5000
			v.send(h, nil)
		}
		for i := range 100 {
			h := in(opRequest)
			h.src = uint32(1000 + i)
			v.send(h, nil)
			h.op = opResponse // a lie: the session wants to send RST
			v.send(h, nil)
			select {
			case c := <-v.accepted:
				c.Close()
			default:
			}
		}
		if st := v.s.Stats(); st.Open != 10 {
			t.Errorf("Open = %d, want 10", st.Open)
		}
		v.stop()
	})
}

// A peer that lies without end does not fill the log.
func TestLiesAreLoggedOnceASecond(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var log bytes.Buffer
		v := newVictim(t, Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
		defer v.stop()
		for range 30 {
			c := v.connect(1000)
			v.send(in(opResponse), nil)
			v.expect(opReset)
			c.Close()
			time.Sleep(100 * time.Millisecond)
		}
		if n := bytes.Count(log.Bytes(), []byte("\n")); n != 3 {
			t.Errorf("%d lines in 3 s, want 3:\n%s", n, &log)
		}
		if v.s.Stats().Lies != 30 {
			t.Errorf("Lies = %d, want 30", v.s.Stats().Lies)
		}
	})
}

// Ports 0 and 0xFFFFFFFF, SEQPACKET, and ports that nobody has are refused.
func TestRefusals(t *testing.T) {
	edit := func(f func(*header)) header {
		h := in(opRequest)
		f(&h)
		return h
	}
	route := func(local, remote uint32) Route {
		switch local {
		case 13:
			return Route{Reason: ReasonDenied}
		case 14:
			return Route{Acceptor: make(backlog)}
		}
		return Route{Acceptor: make(backlog, 1)}
	}
	for name, test := range map[string]struct {
		h    header
		want Reason
	}{
		"to port 0":               {edit(func(h *header) { h.dst = 0 }), ReasonRefused},
		"to port any":             {edit(func(h *header) { h.dst = portAny }), ReasonRefused},
		"from port 0":             {edit(func(h *header) { h.src = 0 }), ReasonRefused},
		"from port any":           {edit(func(h *header) { h.src = portAny }), ReasonRefused},
		"SEQPACKET":               {edit(func(h *header) { h.typ = typeSeqpacket }), ReasonRefused},
		"denied":                  {edit(func(h *header) { h.dst = 13 }), ReasonDenied},
		"no place in the backlog": {edit(func(h *header) { h.dst = 14 }), ReasonRefused},
		"SHUTDOWN of no tuple":    {edit(func(h *header) { h.op = opShutdown }), ReasonNone},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := NewBudget(DefaultBudget, nil)
				v := newVictim(t, Config{Route: route, Budget: b})
				defer v.stop()
				v.send(test.h, nil)
				got := v.expect(opReset)[0]
				if Reason(got.flags) != test.want || got.src != test.h.dst || got.dst != test.h.src {
					t.Errorf("RST %v from %d to %d, want %v", Reason(got.flags), got.src, got.dst, test.want)
				}
				if test.h.typ == typeSeqpacket && got.typ != typeSeqpacket {
					t.Errorf("RST of type %d, want the type of the REQUEST", got.typ)
				}
				if b.Used() != 0 || v.s.Stats().Open != 0 {
					t.Errorf("%d bytes and %d tuples left", b.Used(), v.s.Stats().Open)
				}
			})
		})
	}
}
