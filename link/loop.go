package link

import (
	"sync/atomic"

	"xvsock/evtchn"
	"xvsock/ring"
	"xvsock/xen"
)

// Loop returns the two ends of a link of domain self to itself, without Xen: the
// rings lie in this process's memory, each end reads the other's in place. It
// carries connections of a domain to its own id.
func Loop(self xen.DomID, opt Options) (a, b *Link, err error) {
	opt = opt.withDefaults()
	generation := newGeneration()
	ab, ba := newLoopPorts(), newLoopPorts()
	aPage, bPage := make([]byte, ring.HeaderSize), make([]byte, ring.HeaderSize)
	aTx, bTx := make([]byte, opt.RingSize), make([]byte, opt.RingSize)
	for _, page := range [][]byte{aPage, bPage} {
		// The rings need no references: nobody copies them by grant.
		if err := ring.Format(page, ring.Static{Generation: generation}); err != nil {
			return nil, nil, err
		}
	}
	if a, err = loopEnd(opt, self, generation, aPage, bPage, aTx, bTx, ab[0], ba[1]); err != nil {
		return nil, nil, err
	}
	if b, err = loopEnd(opt, self, generation, bPage, aPage, bTx, aTx, ba[0], ab[1]); err != nil {
		return nil, nil, err
	}
	return a, b, nil
}

// loopEnd makes one end.
func loopEnd(opt Options, self xen.DomID, generation uint64, own, peer, tx, rx []byte, txPort, rxPort *loopPort) (*Link, error) {
	end, err := ring.New(ring.Config{
		Header: own, PeerHeader: peer,
		TxSize: len(tx), TxPages: tx,
		RxSize: len(rx), RxPages: rx,
		NotifyTx: txPort.Notify, NotifyRx: rxPort.Notify,
	})
	if err != nil {
		return nil, err
	}
	l := &Link{
		generation: generation, size: opt.RingSize, heat: heat{off: true}, // the other end needs this process to run
		end: end, tx: txPort, rx: rxPort,
		holds: stake{peer: self, ledger: opt.Ledger, channels: []evtchn.Channel{txPort, rxPort}},
	}
	return l.start(), nil
}

// loopPort is an event channel within the process.
type loopPort struct {
	event  chan struct{}
	other  *loopPort
	closed atomic.Bool
}

// newLoopPorts returns the two ends of a channel.
func newLoopPorts() [2]*loopPort {
	p := [2]*loopPort{{event: make(chan struct{}, 1)}, {event: make(chan struct{}, 1)}}
	p[0].other, p[1].other = p[1], p[0]
	return p
}

// Port implements evtchn.Channel; there is no port.
func (p *loopPort) Port() xen.Port { return 0 }

// Notify implements evtchn.Channel.
func (p *loopPort) Notify() error {
	if p.other.closed.Load() {
		return nil
	}
	select {
	case p.other.event <- struct{}{}:
	default:
	}
	return nil
}

// Event implements evtchn.Channel.
func (p *loopPort) Event() <-chan struct{} { return p.event }

// Unmask implements evtchn.Channel. A second event waits in the channel, so
// nothing needs to be masked.
func (p *loopPort) Unmask() error { return nil }

// Close implements evtchn.Channel.
func (p *loopPort) Close() error {
	p.closed.Store(true)
	return nil
}
