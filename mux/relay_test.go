package mux

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"
)

// sockets is a Relay that notes what it gets.
type sockets struct {
	mu     sync.Mutex
	from   *Session // of the last packet
	full   bool     // no room
	tries  int      // calls of Deliver that found no room
	got    []packet
	resets []Packet
	lost   int
}

type packet struct {
	Packet
	payload string
}

// Deliver implements Relay.
func (k *sockets) Deliver(s *Session, p Packet, a, b []byte) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.from = s
	if k.full {
		k.tries++
		return false
	}
	k.got = append(k.got, packet{p, string(a) + string(b)})
	return true
}

// Reset implements Relay.
func (k *sockets) Reset(p Packet) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.resets = append(k.resets, p)
}

// Flush implements Relay.
func (k *sockets) Flush() {}

// Lost implements Relay.
func (k *sockets) Lost() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lost++
}

// fill says whether there is no room from now on.
func (k *sockets) fill(full bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.full = full
}

// tried returns how often Deliver found no room.
func (k *sockets) tried() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.tries
}

// take returns the packets that came since the last call.
func (k *sockets) take() []packet {
	k.settle()
	k.mu.Lock()
	defer k.mu.Unlock()
	got := k.got
	k.got = nil
	return got
}

// settle waits until all that came is delivered.
func (k *sockets) settle() {
	k.mu.Lock()
	from := k.from
	k.mu.Unlock()
	settle(from)
}

// told returns the resets and losses since the last call.
func (k *sockets) told() (resets []Packet, lost int) {
	k.settle()
	k.mu.Lock()
	defer k.mu.Unlock()
	resets, lost = k.resets, k.lost
	k.resets, k.lost = nil, 0
	return resets, lost
}

// expect fails unless exactly these operations came.
func (k *sockets) expect(t testing.TB, want ...uint16) []packet {
	t.Helper()
	list := k.take()
	var ops []uint16
	for _, p := range list {
		ops = append(ops, p.Op)
	}
	if !slices.Equal(ops, want) {
		t.Fatalf("the relay got ops %v, want %v", ops, want)
	}
	return list
}

// relaying is a victim all of whose ports are a Relay's.
func relaying(t testing.TB, cfg Config) (*victim, *sockets) {
	return relayingOver(t, cfg, 64<<10)
}

func relayingOver(t testing.TB, cfg Config, ring int) (*victim, *sockets) {
	k := new(sockets)
	cfg.Route = func(uint32, uint32) Route { return Route{Relay: k} }
	return newVictimOver(t, cfg, ring, heated), k
}

// local is a packet from port 7 to the peer's port 1000, with the credit of an
// ordinary socket.
func local(op uint16) Packet {
	return Packet{Local: 7, Remote: 1000, Type: typeStream, Op: op, BufAlloc: 256 << 10}
}

// must sends a packet that is accepted.
func (v *victim) must(k Relay, p Packet, payload string) {
	v.t.Helper()
	if err := v.s.Send(k, p, []byte(payload)); err != nil {
		v.t.Fatalf("Send(op %d) = %v", p.Op, err)
	}
	v.settle()
}

// establish makes a relayed connection from the peer's port 1000 to port 7.
func (v *victim) establish(k *sockets) {
	v.t.Helper()
	v.send(in(opRequest), nil)
	k.expect(v.t, opRequest)
	v.must(k, local(opResponse), "")
	v.expect(opResponse)
}

func isReset(err error) bool {
	reset, ok := err.(*ResetError)
	return ok && reset != nil
}

func TestAConnectionToARelay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, k := relaying(t, Config{})
		defer v.stop()
		h := in(opRequest)
		h.bufAlloc, h.fwdCnt = 100, 3
		v.send(h, nil)
		// Nothing was sent that could have been taken.
		want := Packet{Local: 7, Remote: 1000, Type: typeStream, Op: opRequest, BufAlloc: 100}
		if got := k.expect(t, opRequest)[0]; got.Packet != want {
			t.Errorf("the relay got %+v, want %+v", got, want)
		}
		p := local(opResponse)
		p.FwdCnt = 5
		v.must(k, p, "")
		f := v.expect(opResponse)[0]
		if f.src != 7 || f.dst != 1000 || f.bufAlloc != 256<<10 || f.fwdCnt != 5 || f.typ != typeStream {
			t.Errorf("RESPONSE is %+v", f)
		}
		v.send(in(opData), []byte("hello"))
		if got := k.expect(t, opData)[0]; got.payload != "hello" {
			t.Errorf("the relay got %q", got.payload)
		}
		v.must(k, local(opData), "world")
		if f := v.expect(opData)[0]; f.size != 5 {
			t.Errorf("%d bytes of data", f.size)
		}
		list := v.s.Conns()
		if len(list) != 1 || list[0] != (ConnInfo{Local: 7, Remote: 1000, Incoming: true, Relayed: true, State: "established"}) {
			t.Errorf("Conns() = %+v", list)
		}
		if st := v.s.Stats(); st.Open != 1 || st.Relayed != 1 {
			t.Errorf("Stats() = %+v", st)
		}
		h = in(opReset)
		h.flags = uint32(ReasonRevoked)
		v.send(h, nil)
		if got := k.expect(t, opReset)[0]; got.Flags != uint32(ReasonRevoked) {
			t.Errorf("RST with flags %d", got.Flags)
		}
		if st := v.s.Stats(); st.Open != 0 || st.Relayed != 0 {
			t.Errorf("Stats() = %+v after RST", st)
		}
	})
}

func TestAConnectionFromARelay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, k := relaying(t, Config{})
		defer v.stop()
		v.must(k, local(opRequest), "")
		if f := v.expect(opRequest)[0]; f.src != 7 || f.dst != 1000 || f.bufAlloc != 256<<10 {
			t.Errorf("REQUEST is %+v", f)
		}
		if list := v.s.Conns(); len(list) != 1 || list[0].State != "dialing" || list[0].Incoming {
			t.Errorf("Conns() = %+v", list)
		}
		v.send(in(opResponse), nil)
		k.expect(t, opResponse)
		v.must(k, local(opReset), "")
		v.expect(opReset)
		if n := v.s.Stats().Open; n != 0 {
			t.Errorf("%d tuples after RST", n)
		}
		if resets, lost := k.told(); len(resets) != 0 || lost != 0 {
			t.Errorf("the relay was told of %v and %d losses", resets, lost)
		}
	})
}

// What the other side says about its memory is passed on up to 1 MiB.
func TestARelayHearsOfAMegabyteAtMost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, k := relaying(t, Config{})
		defer v.stop()
		v.establish(k)
		for said, want := range map[uint32]uint32{0: 0, 1: 1, 1 << 20: 1 << 20, 1<<20 + 1: 1 << 20, 1<<32 - 1: 1 << 20} {
			h := in(opCreditUpdate)
			h.bufAlloc = said
			v.send(h, nil)
			if got := k.expect(t, opCreditUpdate)[0].BufAlloc; got != want {
				t.Errorf("the relay hears of %d for %d, want %d", got, said, want)
			}
		}
	})
}

func TestWhatARelayMayNotSend(t *testing.T) {
	edit := func(op uint16, f func(*Packet)) Packet {
		p := local(op)
		f(&p)
		return p
	}
	for name, test := range map[string]struct {
		p       Packet
		payload string
		state   string // before: "", asked, dialing, established
		frames  []uint16
	}{
		"data of no tuple":                  {local(opData), "x", "", nil},
		"SHUTDOWN of no tuple":              {local(opShutdown), "", "", nil},
		"RESPONSE to nothing":               {local(opResponse), "", "", nil},
		"REQUEST from port 0":               {edit(opRequest, func(p *Packet) { p.Local = 0 }), "", "", nil},
		"REQUEST to port any":               {edit(opRequest, func(p *Packet) { p.Remote = portAny }), "", "", nil},
		"REQUEST of an unknown type":        {edit(opRequest, func(p *Packet) { p.Type = 3 }), "", "", nil},
		"REQUEST with payload":              {local(opRequest), "x", "", nil},
		"RESPONSE again":                    {local(opResponse), "", "established", []uint16{opReset}},
		"an unknown operation":              {local(8), "", "established", []uint16{opReset}},
		"flags on stream data":              {edit(opData, func(p *Packet) { p.Flags = 1 }), "x", "established", []uint16{opReset}},
		"a third SHUTDOWN flag":             {edit(opShutdown, func(p *Packet) { p.Flags = 4 }), "", "established", []uint16{opReset}},
		"a reason that is none":             {edit(opReset, func(p *Packet) { p.Flags = 99 }), "", "established", []uint16{opReset}},
		"CREDIT_UPDATE with payload":        {local(opCreditUpdate), "x", "established", []uint16{opReset}},
		"another type":                      {edit(opData, func(p *Packet) { p.Type = typeSeqpacket }), "x", "established", []uint16{opReset}},
		"data before the answer":            {local(opData), "x", "asked", []uint16{opReset}},
		"an answer to itself":               {local(opResponse), "", "asked", []uint16{opReset}},
		"SHUTDOWN before the answer":        {local(opShutdown), "", "asked", []uint16{opReset}},
		"an answer of another type":         {edit(opResponse, func(p *Packet) { p.Type = typeSeqpacket }), "", "dialing", []uint16{opReset}},
		"another's connection":              {local(opData), "x", "another's", nil},
		"REQUEST on another's connection":   {local(opRequest), "", "another's", nil},
		"RST of another's, wrong in itself": {edit(opReset, func(p *Packet) { p.Type = 9 }), "", "another's", nil},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				v, k := relaying(t, Config{})
				defer v.stop()
				sender := k
				switch test.state {
				case "asked":
					v.must(k, local(opRequest), "")
					v.expect(opRequest)
				case "dialing":
					v.send(in(opRequest), nil)
				case "another's":
					sender = new(sockets)
					fallthrough
				case "established":
					v.establish(k)
				}
				open := v.s.Stats().Open
				if err := v.s.Send(sender, test.p, []byte(test.payload)); !isReset(err) {
					t.Errorf("Send() = %v, want a *ResetError", err)
				}
				v.expect(test.frames...)
				if test.frames != nil {
					open = 0
				}
				if n := v.s.Stats().Open; n != open {
					t.Errorf("%d tuples, want %d", n, open)
				}
				if resets, lost := sender.told(); len(resets)+lost != 0 {
					t.Errorf("the relay is told of it twice: %v, %d", resets, lost)
				}
			})
		})
	}
}

// RST is answered by nothing, and touches nobody else's connection.
func TestRSTOfNoTupleIsDropped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, k := relaying(t, Config{})
		defer v.stop()
		if err := v.s.Send(k, local(opReset), nil); err != nil {
			t.Errorf("Send(RST) = %v", err)
		}
		v.establish(k)
		if err := v.s.Send(new(sockets), local(opReset), nil); err != nil {
			t.Errorf("Send(RST) of another's connection = %v", err)
		}
		v.expect()
		if n := v.s.Stats().Open; n != 1 {
			t.Errorf("%d tuples, want 1", n)
		}
	})
}

func TestARelayedConnectionLingers(t *testing.T) {
	both := func(op uint16) Packet {
		p := local(op)
		p.Flags = shutBoth
		return p
	}
	flags := func(op uint16, f uint32) header {
		h := in(op)
		h.flags = f
		return h
	}
	for name, shut := range map[string]func(v *victim, k *sockets){
		"the local end shuts both":  func(v *victim, k *sockets) { v.must(k, both(opShutdown), ""); v.expect(opShutdown) },
		"the other side shuts both": func(v *victim, k *sockets) { v.send(flags(opShutdown, shutBoth), nil) },
		"each side ends what it sends": func(v *victim, k *sockets) {
			v.must(k, halfShut(shutSend), "")
			v.expect(opShutdown)
			v.send(flags(opShutdown, shutSend), nil)
		},
		"each side ends what it takes": func(v *victim, k *sockets) {
			v.must(k, halfShut(shutReceive), "")
			v.expect(opShutdown)
			v.send(flags(opShutdown, shutReceive), nil)
		},
		"the other side, one at a time": func(v *victim, k *sockets) {
			v.send(flags(opShutdown, shutReceive), nil)
			v.send(flags(opShutdown, shutSend), nil)
		},
		"the local end, one at a time": func(v *victim, k *sockets) {
			v.must(k, halfShut(shutReceive), "")
			v.must(k, halfShut(shutSend), "")
			v.expect(opShutdown, opShutdown)
		},
		"the local end, and then it all": func(v *victim, k *sockets) {
			v.must(k, halfShut(shutReceive), "")
			v.must(k, both(opShutdown), "")
			v.expect(opShutdown, opShutdown)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				v, k := relaying(t, Config{})
				defer v.stop()
				v.establish(k)
				shut(v, k)
				k.take()
				if state := v.s.Conns()[0].State; state != "lingering" {
					t.Fatalf("%s", state)
				}
				v.send(in(opCreditUpdate), nil) // passes still
				k.expect(t, opCreditUpdate)
				time.Sleep(lingerTime - time.Second)
				v.expect()
				time.Sleep(time.Second)
				v.expect(opReset)
				resets, _ := k.told()
				if len(resets) != 1 || resets[0] != (Packet{Local: 7, Remote: 1000, Type: typeStream, Op: opReset}) {
					t.Errorf("the relay is told of %+v", resets)
				}
				if n := v.s.Stats().Open; n != 0 {
					t.Errorf("%d tuples", n)
				}
			})
		})
	}
}

// halfShut is SHUTDOWN of one direction.
func halfShut(flags uint32) Packet {
	p := local(opShutdown)
	p.Flags = flags
	return p
}

// One direction that is shut does not end a connection.
func TestAHalfClosedRelayedConnectionStays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, k := relaying(t, Config{})
		defer v.stop()
		v.establish(k)
		v.must(k, halfShut(shutSend), "")
		if h := v.expect(opShutdown)[0]; h.flags != shutSend {
			t.Errorf("SHUTDOWN %d", h.flags)
		}
		for range 12 {
			time.Sleep(5 * time.Second)
			v.send(in(opData), []byte("more"))
			k.expect(t, opData)
			v.frames()
		}
		if state := v.s.Conns()[0].State; state != "established" {
			t.Errorf("%s", state)
		}
	})
}

func TestARelayIsToldOfTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, k := relaying(t, Config{})
		other := new(sockets)
		v.establish(k)
		for i := range uint32(3) { // established, of k
			h := in(opRequest)
			h.src = 2000 + i
			v.send(h, nil)
			p := local(opResponse)
			p.Remote = h.src
			v.must(k, p, "")
		}
		v.must(other, Packet{Local: 40000, Remote: 9, Type: typeStream, Op: opRequest}, "")
		v.peer.end.Fail(errors.New("gone"))
		<-v.done
		if resets, lost := k.told(); len(resets) != 0 || lost != 1 {
			t.Errorf("resets %v, %d losses, want one loss", resets, lost)
		}
		resets, lost := other.told()
		if len(resets) != 1 || resets[0].Local != 40000 || lost != 0 {
			t.Errorf("who waits for an answer is told of resets %v, %d losses, want one reset", resets, lost)
		}
		if err := v.s.Send(k, local(opData), []byte("x")); !isReset(err) {
			t.Errorf("Send() = %v after the end", err)
		}
		if err := v.s.Send(k, local(opRequest), nil); !isReset(err) || !err.(*ResetError).Unsent {
			t.Errorf("Send(REQUEST) = %v after the end", err)
		}
	})
}

func TestReviewAndResetReachARelay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, k := relaying(t, Config{})
		defer v.stop()
		v.establish(k)
		if n := v.s.Reset(all, ReasonRevoked); n != 1 {
			t.Errorf("%d ended", n)
		}
		if h := v.expect(opReset)[0]; Reason(h.flags) != ReasonRevoked || h.src != 7 || h.dst != 1000 {
			t.Errorf("RST %+v", h)
		}
		resets, _ := k.told()
		if want := (Packet{Local: 7, Remote: 1000, Type: typeStream, Op: opReset, Flags: uint32(ReasonRevoked)}); len(resets) != 1 || resets[0] != want {
			t.Errorf("the relay is told of %+v, want %+v", resets, want)
		}
	})
}

func TestWithdrawEndsTheConnectionsOfOneRelay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, k := relaying(t, Config{})
		defer v.stop()
		v.establish(k)
		other := new(sockets)
		v.must(other, Packet{Local: 40000, Remote: 9, Type: typeStream, Op: opRequest}, "")
		v.expect(opRequest)
		v.s.Withdraw(k)
		v.expect(opReset)
		if n := v.s.Stats().Open; n != 1 {
			t.Errorf("%d tuples, want the other's", n)
		}
		for _, k := range []*sockets{k, other} {
			if resets, lost := k.told(); len(resets)+lost != 0 {
				t.Errorf("resets %v, %d losses", resets, lost)
			}
		}
	})
}

// Only so many connections wait for a Relay's answer.
func TestUnansweredRequestsAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v, k := relaying(t, Config{})
		defer v.stop()
		request := func(port uint32) {
			h := in(opRequest)
			h.src = port
			v.send(h, nil)
		}
		for i := range uint32(DefaultMaxConns/2 + 3) {
			request(2000 + i)
		}
		if n := len(k.take()); n != DefaultMaxConns/2 {
			t.Errorf("%d requests, want %d", n, DefaultMaxConns/2)
		}
		for _, h := range v.expect(opReset, opReset, opReset) {
			if Reason(h.flags) != ReasonBudget {
				t.Errorf("RST %v, want budget", Reason(h.flags))
			}
		}
		answer := local(opResponse)
		answer.Remote = 2000
		v.must(k, answer, "")
		refusal := local(opReset)
		refusal.Remote = 2001
		v.must(k, refusal, "")
		v.expect(opResponse, opReset)
		for i := range uint32(3) {
			request(9000 + i)
		}
		k.expect(t, opRequest, opRequest)
		v.expect(opReset)
	})
}

// A REQUEST that nobody answers does not hold its tuple for ever.
func TestAnUnansweredRequestEnds(t *testing.T) {
	for name, ask := range map[string]func(v *victim, k *sockets){
		"of the local end":  func(v *victim, k *sockets) { v.must(k, local(opRequest), ""); v.expect(opRequest) },
		"of the other side": func(v *victim, k *sockets) { v.send(in(opRequest), nil); k.expect(v.t, opRequest) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				v, k := relaying(t, Config{Silence: time.Hour})
				defer v.stop()
				ask(v, k)
				time.Sleep(answerTime - time.Second)
				if n := len(v.s.Conns()); n != 1 {
					t.Fatalf("%d tuples", n)
				}
				time.Sleep(time.Second)
				v.expect(opReset)
				if resets, _ := k.told(); len(resets) != 1 || v.s.Stats().Open != 0 {
					t.Errorf("the relay is told of %d resets, %d tuples", len(resets), v.s.Stats().Open)
				}
			})
		})
	}
	bubble(t, func(t *testing.T) { // one that was answered stays
		v, k := relaying(t, Config{Silence: time.Hour})
		defer v.stop()
		v.establish(k)
		time.Sleep(3 * answerTime)
		if n := len(v.s.Conns()); n != 1 {
			t.Errorf("%d tuples", n)
		}
	})
}

// What nobody at the port takes is the Relay's, with its permit.
func TestARelayGetsWhatTheAcceptorLeaves(t *testing.T) {
	bubble(t, func(t *testing.T) {
		k := new(sockets)
		var taker Acceptor = refuser{}
		b := NewBudget(DefaultBudget, nil)
		v, ps := guarded(t, Config{Budget: b, Route: func(uint32, uint32) Route { return Route{Acceptor: taker, Relay: k} }})
		defer v.stop()
		v.establish(k)
		if b.Used() != 0 || v.s.Stats().Open != 1 || !v.s.Conns()[0].Relayed {
			t.Errorf("%d bytes booked, %+v", b.Used(), v.s.Conns())
		}
		if n := sum(ps.released()); n != 0 {
			t.Errorf("%d permits released, and the connection goes on", n)
		}
		v.send(in(opReset), nil)
		k.expect(t, opReset)
		if got := ps.released(); !slices.Equal(got, []int{1}) {
			t.Errorf("permits were released %v times", got)
		}

		h := in(opRequest)
		h.typ = typeSeqpacket
		taker = v.accepted
		v.send(h, nil)
		if got := k.expect(t, opRequest); got[0].Type != typeSeqpacket {
			t.Errorf("SEQPACKET comes as %+v", got)
		}
		h = in(opRequest)
		h.src = 1001
		v.send(h, nil)
		k.expect(t)
		(<-v.accepted).Close()
	})
}
