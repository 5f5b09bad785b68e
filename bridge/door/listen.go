package door

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"xvsock/services"
	"xvsock/vsock"
	"xvsock/vsock/hybrid"
)

var errEager = &hybrid.Error{Errno: syscall.ENOBUFS, Text: fmt.Sprintf("more than %d ACCEPTs wait", hybrid.MaxAccepts)}

// listening is a client that has listened.
type listening struct {
	*client
	server  *Server
	l       *vsock.Listener
	wanted  chan struct{} // an ACCEPT each
	pending atomic.Int32  // ACCEPTs that are not answered
}

// listen listens for a client for as long as it stays.
func (c *client) listen(ctx context.Context, s *Server, stack Stack, where string) {
	n, err := port(where)
	switch {
	case err != nil:
		s.refuse(c, refusal(err))
		return
	case n != 0 && n < services.PortPrivileged && c.UID != 0:
		s.refuse(c, &hybrid.Error{Errno: syscall.EACCES, Text: fmt.Sprintf("only root listens on port %d", n)})
		return
	case n == vsock.PortManager:
		s.refuse(c, &hybrid.Error{Errno: syscall.EACCES, Text: "port 1 is the connection manager's"})
		return
	}
	l, err := stack.Listen(n)
	if err != nil {
		s.refuse(c, refusal(err))
		return
	}
	defer l.Close()
	if c.say(hybrid.OK(l.Addr().(vsock.Addr).Port), nil) != nil {
		return
	}
	on := &listening{client: c, server: s, l: l, wanted: make(chan struct{}, hybrid.MaxAccepts)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		on.read()
	}()
	on.answer(ctx)
	c.conn.Close() // which ends read
	<-read
}

// read takes the client's lines until it hangs up, or says something else. Then the
// listener ends, for which answer may wait.
func (on *listening) read() {
	defer close(on.wanted)
	defer on.l.Close() // before the client can see the end
	for {
		line, err := hybrid.ReadLine(on.conn)
		if err != nil {
			return
		}
		if r, err := hybrid.ParseRequest(line); err != nil || r.Verb != hybrid.Accept {
			on.server.refuse(on.client, &hybrid.Error{Errno: syscall.EINVAL, Text: "a listener says ACCEPT"})
			return
		}
		if on.pending.Add(1) > hybrid.MaxAccepts {
			on.server.refuse(on.client, errEager)
			return
		}
		on.wanted <- struct{}{} // has room: it has one for each that is pending
	}
}

// answer gives the client a connection for each ACCEPT.
func (on *listening) answer(ctx context.Context) {
	for range on.wanted {
		for given := false; !given; {
			conn, err := on.l.Accept()
			if err != nil {
				return
			}
			if given, err = on.give(conn.(*vsock.Conn)); err != nil || ctx.Err() != nil {
				return
			}
		}
	}
}

// give hands the client one end of a socket pair whose other end is joined to conn. It
// returns false if there is no place for another connection, which is then reset, and
// an error if the client is gone.
func (on *listening) give(conn *vsock.Conn) (bool, error) {
	c := newIncoming(conn, on.Client)
	run, no := on.server.book(c)
	if no != nil {
		return on.decline(conn, no)
	}
	ours, theirs, err := socketPair()
	if err != nil {
		on.server.leave(c)
		return on.decline(conn, err)
	}
	defer theirs.Close()
	c.conn = ours
	ready := make(chan error, 1)
	run(func(ctx context.Context, s *Server, _ Stack) {
		if <-ready == nil {
			s.join(ctx, conn, ours)
		} else {
			_ = conn.Reset()
		}
		ours.Close()
	})
	from := conn.RemoteAddr().(vsock.Addr)
	on.pending.Add(-1) // before the client can count it
	err = on.say(hybrid.Accepted(cidOf(conn), from.Port), unix.UnixRights(int(theirs.Fd())))
	ready <- err
	return true, err
}

// decline resets a connection that the client cannot have.
func (on *listening) decline(conn *vsock.Conn, why error) (bool, error) {
	s := on.server
	s.count()
	s.log.refuse(source{domain, cidOf(conn)}, slog.LevelWarn, "connection not given to a program", append(on.who(), "peer", conn.RemoteAddr(), "error", why)...)
	return false, conn.Reset()
}

// socketPair makes a pair of stream sockets: ours, and one for a program, which it finds
// blocking, as programs expect that know nothing of Go.
func socketPair() (ours *net.UnixConn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	theirs = os.NewFile(uintptr(fds[1]), "stream")
	_ = unix.SetsockoptInt(fds[1], unix.SOL_SOCKET, unix.SO_SNDBUF, streamBuffer)
	if ours, err = connOf(fds[0]); err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// streamBuffer is what the kernel keeps of a stream that its reader has not taken, in
// bytes. It counts it with its overhead, which is as much again (socket(7), SO_SNDBUF).
const streamBuffer = 64 << 10

// connOf makes a connection of a descriptor, which it takes.
func connOf(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "stream")
	defer f.Close()
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, streamBuffer)
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return c.(*net.UnixConn), nil
}
