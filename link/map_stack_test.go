package link_test

import (
	"encoding/binary"
	"errors"
	"syscall"
	"testing"

	"xvsock/link"
	"xvsock/vsock"
)

// frame is a frame of package mux with n bytes of payload, from an ephemeral port to
// port 7.
func frame(op uint16, seq uint32, n int) []byte {
	f := make([]byte, (32+n+7)&^7)
	le := binary.LittleEndian
	le.PutUint32(f[0:], 0xC000_0000)
	le.PutUint32(f[4:], 7)
	le.PutUint32(f[8:], uint32(n))
	le.PutUint16(f[12:], 1) // STREAM
	le.PutUint16(f[14:], op)
	le.PutUint32(f[20:], 1<<20) // buf_alloc
	le.PutUint32(f[28:], seq)
	return f
}

// A fault while a frame is read loses the link and resets its connections, whether it is
// the pump that reads or a program that waits, and nothing else ends.
func TestAFaultUnderAStackResetsItsConnections(t *testing.T) {
	const request, data = 1, 5
	for name, hot := range map[string]bool{"the pump reads": false, "who waits reads": true} {
		t.Run(name, func(t *testing.T) {
			_, one, two := guests(t, mapping, mapping)
			one.dom.Suspends = true
			b := makeBrittle(one)
			i, r := one.offer(two), two.offer(one)
			l, far := ends(t, i, r)
			stack := vsock.NewStack(vsock.Config{Self: one.dom.ID()})
			listener, err := stack.Listen(7)
			if err != nil {
				t.Fatal(err)
			}
			served := make(chan error, 1)
			go func() { served <- stack.Serve(l, vsock.ToPeer, nil) }()
			send(t, far, frame(request, 0, 0))
			b.look()
			l.Wake()
			c, err := listener.Accept()
			if err != nil {
				t.Fatal(err)
			}
			read := make(chan error, 1)
			if hot {
				link.Heat(l)
			}
			go func() {
				_, err := c.Read(make([]byte, 64))
				read <- err
			}()
			b.breaks(1)
			send(t, far, frame(data, 1, 64))
			b.files[0].look(t)
			l.Wake()
			if err := <-read; !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("Read returned %v, want a reset", err)
			}
			if err := <-served; link.CauseOf(err) != link.Lost || link.CauseOf(l.Err()) != link.Lost {
				t.Errorf("Serve returned %v, the link ended with %v", err, l.Err())
			}
			if err := errors.Join(c.Close(), listener.Close(), stack.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}
