package vsock_test

import (
	"errors"
	"syscall"
	"testing"
	"testing/synctest"

	"xvsock/vsock"
)

// A domain that was restored has another id: its listeners stay, at a new address.
func TestADomainWithANewIDKeepsItsListeners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stack := vsock.NewStack(vsock.Config{Self: 5})
		defer stack.Close()
		l, err := stack.Listen(7)
		if err != nil {
			t.Fatal(err)
		}
		dial := func(cid uint32) (*vsock.Conn, error) { return stack.Dial(t.Context(), vsock.Addr{CID: cid, Port: 7}) }
		old, err := dial(5)
		if err != nil {
			t.Fatal(err)
		}
		stack.SetSelf(5) // changes nothing
		if _, err := old.Write([]byte("x")); err != nil {
			t.Error(err)
		}
		stack.SetSelf(9)
		if _, err := old.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a connection from the old address: %v", err)
		}
		if _, err := dial(5); !errors.Is(err, syscall.EHOSTUNREACH) {
			t.Errorf("the old address is still this domain's: %v", err)
		}
		c, err := dial(9)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		want := vsock.Addr{CID: 9, Port: 7}
		if stack.Self() != 9 || l.Addr() != want || c.RemoteAddr() != want || c.LocalAddr().(vsock.Addr).CID != 9 {
			t.Errorf("this is %v, its listener %v, a connection %v to %v", stack.Self(), l.Addr(), c.LocalAddr(), c.RemoteAddr())
		}
		if fresh, err := stack.Listen(8); err != nil || fresh.Addr().(vsock.Addr).CID != 9 {
			t.Errorf("%v, %v", fresh, err)
		}
	})
}
