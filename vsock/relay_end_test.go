package vsock_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/link"
	"xvsock/mux"
	"xvsock/vsock"
	"xvsock/xen"
)

// An error answers a packet with RST, which a kernel's socket takes for an orderly end.
// So there is none for a connection that was lost before its Relay was told.
func TestNoPacketIsOfNoConnectionBeforeTheLossIsTold(t *testing.T) {
	for name, end := range map[string]func(back *node, l *link.Link){
		"the link is lost":    func(_ *node, l *link.Link) { l.End(link.Lost, errors.New("test")) },
		"the Stack is closed": func(back *node, _ *link.Link) { go back.stack.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			for range 20 {
				synctest.Test(t, func(t *testing.T) {
					defer time.Sleep(time.Second) // Close is over then
					back, front, atBack, atFront := relayPair(t, roomy)
					there := front.addr(0).CID
					back.send(there, atBack.kernel, from(5000, 80, mux.OpRequest), "")
					atFront.kernel.take()
					front.send(0x10000, atFront.kernel, from(80, 5000, mux.OpResponse), "")
					atBack.kernel.take()
					end(back, <-back.links)
					for range 10000 {
						if back.stack.Send(there, atBack.kernel, from(5000, 80, mux.OpCreditUpdate), nil) == nil {
							continue
						}
						atBack.kernel.mu.Lock()
						defer atBack.kernel.mu.Unlock()
						if atBack.kernel.lost+len(atBack.kernel.resets) == 0 {
							t.Fatal("Send fails, and the relay does not know that the connection is lost")
						}
						return
					}
				})
			}
		})
	}
}

func TestAResumedDomainLosesItsConnectionsWithItself(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			at := newLocals()
			k := at.kernel
			stack := vsock.NewStack(vsock.Config{Self: 5, Locals: at})
			defer stack.Close()
			send := func(p mux.Packet) error { return stack.Send(vsock.CIDSelf, k, p, nil) }
			if err := send(from(5000, 80, mux.OpRequest)); err != nil {
				t.Fatal(err)
			}
			k.take()
			if err := send(from(80, 5000, mux.OpResponse)); err != nil {
				t.Fatal(err)
			}
			k.take()
			stack.SetSelf(9)
			for send(from(5000, 80, mux.OpCreditUpdate)) == nil {
			}
			k.mu.Lock()
			defer k.mu.Unlock()
			if k.lost == 0 {
				t.Fatal("Send fails, and the relay does not know that the connection is lost")
			}
		})
	}
}

// What begins after a resume does not meet the loop of before.
func TestAResumedDomainReachesItselfAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stack := vsock.NewStack(vsock.Config{Self: 5})
		defer stack.Close()
		l, err := stack.Listen(7)
		if err != nil {
			t.Fatal(err)
		}
		go echo(l)
		for id := range xen.DomID(50) {
			stack.SetSelf(100 + id)
			c, err := stack.Dial(t.Context(), vsock.Addr{CID: vsock.CIDSelf, Port: 7})
			if err != nil {
				t.Fatalf("after resume %d: %v", id, err)
			}
			defer c.Close()
		}
	})
}
