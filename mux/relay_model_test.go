package mux

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// reference says what a relayed tuple should do, with a ring that is never full. Its
// states are "" (no tuple), asked (by us), asking (they us), open and lingering.
type reference struct {
	state          string
	shut, peerShut uint32
	wished         bool      // CREDIT_REQUEST was passed, and not answered
	until          time.Time // lingering, or waiting for an answer
	epoch          int       // of the tuple

	full  bool // the relay has no room
	queue []header
	held  *header // the first of queue, which was dealt with
	of    int     // the tuple of held; -1: it is of no use

	frames    []uint16 // that the peer should get
	delivered []uint16 // that the relay should get
	resets    int      // that the relay should be told of
}

func (m *reference) enter(state string) {
	m.state, m.shut, m.peerShut, m.wished, m.until = state, 0, 0, false, time.Now().Add(answerTime)
	m.epoch++
}

// end ends the tuple with RST.
func (m *reference) end() {
	m.frames = append(m.frames, opReset)
	m.leave()
	m.run()
}

func (m *reference) leave() {
	m.state = ""
	m.epoch++
}

func (m *reference) afterShutdown() {
	receives := m.peerShut&shutSend == 0 && m.shut&shutReceive == 0
	sends := m.peerShut&shutReceive == 0 && m.shut&shutSend == 0
	if m.state == "open" && !receives && !sends {
		m.state, m.until = "lingering", time.Now().Add(lingerTime)
	}
}

// local is a Send. It returns whether it fails.
func (m *reference) local(p Packet) bool {
	sent := func() bool { m.frames = append(m.frames, p.Op); return false }
	switch {
	case p.Op == opRequest:
		switch m.state {
		case "":
		case "asked": // as it was; the time begins anew
			m.until = time.Now().Add(answerTime)
			return false
		default:
			return false
		}
		m.enter("asked")
		sent()
		m.run() // a RST of the tuple before it, if held, is moot now
		return false
	case m.state == "":
		return p.Op != opReset
	case p.Op == opReset:
		m.end()
		return false
	case m.state == "asking" && p.Op != opResponse:
		return false // of an earlier connection
	case p.Type != typeStream, m.state == "asked", (p.Op == opResponse) != (m.state == "asking"):
		m.end()
		return true
	case p.Op == opResponse:
		m.state = "open"
	case p.Op == opShutdown:
		m.shut |= p.Flags
		m.afterShutdown()
	}
	m.wished = false
	return sent()
}

// run deals with the frames that came, as far as there is room.
func (m *reference) run() {
	for {
		if m.held != nil {
			h := *m.held
			moot := m.of != m.epoch
			switch {
			case moot:
			case m.full:
				m.sendReset()
				return
			default:
				m.delivered = append(m.delivered, h.op)
			}
			m.held = nil
		}
		if len(m.queue) == 0 {
			m.sendReset()
			return
		}
		h := m.queue[0]
		m.queue = m.queue[1:]
		m.remote(h)
	}
}

// sendReset ends a tuple that was lost to a lie: RST goes after the batch.
func (m *reference) sendReset() {
	if m.state == "resetting" {
		m.frames = append(m.frames, opReset)
		m.state = ""
	}
}

// remote is a frame of the other side.
func (m *reference) remote(h header) {
	switch {
	case m.state == "resetting":
		if h.op == opReset {
			m.leave()
		}
		return
	case m.state == "" && h.op == opRequest:
		m.enter("asking")
	case m.state == "":
		if h.op != opReset {
			m.frames = append(m.frames, opReset)
		}
		return
	case h.op == opReset:
		m.leave()
	case h.typ != typeStream, h.op == opRequest, m.state == "asking",
		(m.state == "asked") != (h.op == opResponse):
		m.resets++
		m.leave()
		m.state = "resetting"
		return
	case h.op == opResponse:
		m.state = "open"
	case h.op == opShutdown:
		m.peerShut |= h.flags
		m.afterShutdown()
	case h.op == opCreditRequest && m.wished:
		h.op = opCreditUpdate
	case h.op == opCreditRequest:
		m.wished = true
	}
	m.held, m.of = &h, m.epoch
}

// reset is Session.Reset.
func (m *reference) reset() {
	if m.state != "" {
		m.resets++
		m.end()
	}
}

// Any order of packets, frames, stalls and resets on one tuple does what the
// reference does, and permits are given back once.
func TestARelayedTupleInAnyOrder(t *testing.T) {
	tb := t
	rapid.Check(t, func(rt *rapid.T) {
		inBubble(t, func() {
			t := rt
			w := &world{}
			k := new(sockets)
			m := new(reference)
			v := newVictim(tb, Config{Permit: w.permit, Silence: time.Hour, Route: func(uint32, uint32) Route { return Route{Relay: k} }})
			defer v.stop()
			op := rapid.Uint16Range(opRequest, opCreditRequest)
			typ := rapid.SampledFrom([]uint16{typeStream, typeStream, typeStream, typeStream, typeSeqpacket})
			flags := rapid.Uint32Range(1, shutBoth)
			t.Repeat(map[string]func(*rapid.T){
				"send": func(t *rapid.T) {
					p := local(op.Draw(t, "op"))
					if p.Op != opRequest {
						p.Type = typ.Draw(t, "type")
					}
					if p.Op == opShutdown {
						p.Flags = flags.Draw(t, "flags")
					}
					fails := m.local(p)
					if err := v.s.Send(k, p, nil); (err != nil) != fails || fails && !isReset(err) {
						t.Fatalf("Send(op %d) = %v in state %q", p.Op, err, m.state)
					}
				},
				"frame": func(t *rapid.T) {
					h := in(op.Draw(t, "op"))
					h.typ = typeStream
					if h.op != opRequest {
						h.typ = typ.Draw(t, "type")
					}
					if h.op == opShutdown {
						h.flags = flags.Draw(t, "flags")
					}
					m.queue = append(m.queue, h)
					m.run()
					v.send(h, nil)
				},
				"answer": func(t *rapid.T) { // so that more of them are open
					switch m.state {
					case "asking":
						m.local(local(opResponse))
						_ = v.s.Send(k, local(opResponse), nil)
					case "asked":
						h := in(opResponse)
						h.typ = typeStream
						m.queue = append(m.queue, h)
						m.run()
						v.send(h, nil)
					}
				},
				"stall": func(t *rapid.T) {
					m.full = !m.full
					k.fill(m.full)
					v.s.Wake()
					m.run()
				},
				"reset": func(*rapid.T) {
					m.reset()
					v.s.Reset(all, ReasonRevoked)
				},
				"withdraw": func(*rapid.T) {
					if m.state != "" {
						m.frames = append(m.frames, opReset)
						m.leave()
					}
					m.of = -1
					m.run()
					v.s.Withdraw(k)
				},
				"pass": func(*rapid.T) {
					time.Sleep(rapid.SampledFrom([]time.Duration{3, 30}).Draw(t, "seconds") * time.Second)
					if m.state != "" && m.state != "open" && !m.until.After(time.Now()) {
						m.reset()
					}
				},
				"": func(t *rapid.T) { m.check(t, w, v, k) },
			})
		})
	})
}

// check compares what came with what should have.
func (m *reference) check(t *rapid.T, w *world, v *victim, k *sockets) {
	v.settle()
	var frames, delivered []uint16
	for _, op := range ops(v.frames()) {
		if op != opCreditRequest {
			frames = append(frames, op)
		}
	}
	for _, p := range k.take() {
		delivered = append(delivered, p.Op)
	}
	m.frames = slices.DeleteFunc(m.frames, func(op uint16) bool { return op == opCreditRequest }) // as a sign of life they come anyhow
	resets, lost := k.told()
	if !slices.Equal(frames, m.frames) || !slices.Equal(delivered, m.delivered) || len(resets) != m.resets || lost != 0 {
		t.Fatalf("state %q: the peer got %v, want %v; the relay got %v, want %v, and %d resets, want %d",
			m.state, frames, m.frames, delivered, m.delivered, len(resets), m.resets)
	}
	m.frames, m.delivered, m.resets = nil, nil, 0
	open := int64(0)
	if m.state != "" {
		open = 1
	}
	if n, st := w.held.Load(), v.s.Stats(); n != open || int64(st.Open) != open || int64(st.Relayed) != open {
		t.Fatalf("state %q: %d permits, %d tuples, %d relayed", m.state, n, st.Open, st.Relayed)
	}
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	if want := m.state == "asking"; (v.s.unanswered == 1) != want || v.s.unanswered > 1 {
		t.Fatalf("state %q: %d unanswered", m.state, v.s.unanswered)
	}
}
