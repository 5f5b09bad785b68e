package afvsock

import (
	"testing"

	"xvsock/bridge/vhost"
	"xvsock/mux"
)

// FuzzPacket gives both ways of an instance any packet: what passes is one that the
// kernel and a link take.
func FuzzPacket(f *testing.F) {
	f.Add(uint32(80), uint32(5000), uint16(1), uint16(1), uint32(0), 0)
	f.Add(uint32(80), uint32(5000), uint16(1), uint16(5), uint32(1), 64<<10)
	f.Add(uint32(0), uint32(0xFFFFFFFF), uint16(2), uint16(4), uint32(0xFFFFFFFF), 1)
	f.Add(uint32(1), uint32(1), uint16(1), uint16(3), uint32(7), 0)
	s := New(Config{})
	stack := &checkingStack{}
	s.stack = stack
	dev := &checkingDevice{quietDevice: quietDevice{end: make(chan struct{})}}
	i := s.newInstance(Peer{5, 5}, dev, new(tally))
	f.Cleanup(func() { i.close() })
	payload := make([]byte, vhost.MaxPayload+1)
	f.Fuzz(func(t *testing.T, local, remote uint32, typ, op uint16, flags uint32, n int) {
		stack.t, dev.t = t, t
		n = min(max(n, 0), len(payload))
		i.packet(fromKernel(vhost.Header{Src: local, Dst: remote, Type: typ, Op: op, Flags: flags}), payload[:n])
		p := mux.Packet{Local: local, Remote: remote, Type: typ, Op: op, Flags: flags}
		if !i.deliver(&fakeSession{}, p, payload[:n/2], payload[n/2:n]) {
			t.Error("a packet stops the link")
		}
	})
}

// sound fails the test for a packet that lies about itself.
func sound(t *testing.T, typ, op uint16, flags uint32, n int) {
	t.Helper()
	allowed := uint32(0)
	if op == mux.OpShutdown || op == mux.OpData && typ == mux.TypeSeqpacket {
		allowed = 3
	}
	if typ < 1 || typ > 2 || op < 1 || op > 7 || flags&^allowed != 0 || n > 64<<10 || op != mux.OpData && n > 0 {
		t.Errorf("passed: type %d op %d flags %#x, %d bytes", typ, op, flags, n)
	}
}

type checkingStack struct {
	quietStack
	t *testing.T
}

func (s *checkingStack) Send(_ uint32, _ mux.Relay, p mux.Packet, payload []byte) error {
	sound(s.t, p.Type, p.Op, p.Flags, len(payload))
	if p.Op == mux.OpRequest && (p.Remote <= 1 || p.Remote == 4 && p.Local >= 1024) {
		s.t.Errorf("a REQUEST from port %d to port %d passed", p.Local, p.Remote)
	}
	return nil
}

type checkingDevice struct {
	quietDevice
	t *testing.T
}

func (d *checkingDevice) Send(h vhost.Header, a, b []byte) bool {
	sound(d.t, h.Type, h.Op, h.Flags, len(a)+len(b))
	return true
}
