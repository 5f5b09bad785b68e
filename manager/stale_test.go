package manager

import (
	"errors"
	"runtime"
	"testing"

	"xvsock/link"
	"xvsock/vsock"
)

// A connection of the link before may be accepted only once the next link is up.
// It must not pass for that one's: the honest one that follows would be a second,
// and break the link.
func TestAConnectionOfAnEarlierLinkIsNotTheFrontendsPort1(t *testing.T) {
	var ends [2][2]*link.Link
	for i := range ends {
		var err error
		if ends[i][0], ends[i][1], err = link.Loop(5, link.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	front, back := vsock.NewStack(vsock.Config{}), vsock.NewStack(vsock.Config{Backend: true})
	listener, err := back.Listen(vsock.PortManager)
	if err != nil {
		t.Fatal(err)
	}
	served, dialled := make(chan error, 2), make(chan error)
	go func() { served <- front.Serve(ends[0][0], vsock.ToBackend, nil) }()
	go func() { served <- back.Serve(ends[0][1], vsock.ToFrontend, nil) }()
	go func() {
		for len(front.Peers()) == 0 {
			runtime.Gosched()
		}
		_, err := front.DialPrivileged(t.Context(), vsock.Addr{CID: vsock.CIDBackend, Port: vsock.PortManager})
		dialled <- err
	}()
	c, err := listener.Accept()
	if err := errors.Join(err, <-dialled); err != nil {
		t.Fatal(err)
	}
	m := New(Config{})
	f := newFrontend(m, Identity{Domain: 5})
	f.link = ends[1][1]
	m.frontends[5] = f
	if _, l, err := m.hold(c.(*vsock.Conn)); !errors.Is(err, errNotFront) || l != nil || f.talk != nil {
		t.Errorf("over the next link it is held as %v, %v", l, err)
	}
	f.link = ends[0][1]
	if talk, l, err := m.hold(c.(*vsock.Conn)); err != nil || l != f.link || f.talk != talk || talk == nil {
		t.Errorf("over its own link it is held as %v, %v", l, err)
	}
	// A frontend that was detached has no rights, and no conversation any more.
	f.talk, f.detached = nil, true
	if _, l, err := m.hold(c.(*vsock.Conn)); !errors.Is(err, errNotFront) || l != nil || f.talk != nil {
		t.Errorf("of a frontend that was detached it is held as %v, %v", l, err)
	}
	for _, pair := range ends {
		for _, l := range pair {
			l.End(link.Lost, nil)
		}
	}
	<-served
	<-served
	for _, pair := range ends {
		errors.Join(pair[0].Close(), pair[1].Close())
	}
	errors.Join(front.Close(), back.Close())
}
