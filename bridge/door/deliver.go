package door

import (
	"context"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"xvsock/services"
	"xvsock/splice"
	"xvsock/vsock"
)

// Acceptor returns who takes a connection to port: the program that listens at
// <path>_<port>, or nil if there is no such socket, or nobody may have the port by it:
// one below 1024 is root's, and the socket's owner is who has made it. What is returned
// connects to the program under the peer's address (splice.TryNames), and returns false if
// it does not listen, or has too many waiting. Neither waits for anything.
//
// It is the Acceptor of a vsock.Locals.
func (s *Server) Acceptor(port uint32) func(*vsock.Conn) bool {
	path := s.cfg.Path + "_" + strconv.FormatUint(uint64(port), 10)
	owner, group, ok := socketAt(path)
	if !ok || port < services.PortPrivileged && owner != 0 {
		return nil
	}
	return func(conn *vsock.Conn) bool {
		return s.deliver(conn, Client{UID: owner, GID: group, Does: path})
	}
}

// socketAt returns whose socket is at a path. It follows nothing that leads elsewhere.
func socketAt(path string) (uid, gid uint32, ok bool) {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != fs.ModeSocket {
		return 0, 0, false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return stat.Uid, stat.Gid, true
}

// deliver joins a connection to the program whose socket program.Does says.
func (s *Server) deliver(conn *vsock.Conn, program Client) bool {
	c := newIncoming(conn, program)
	from := conn.RemoteAddr().(vsock.Addr)
	refuse := func(err error) bool {
		s.count()
		s.log.refuse(source{domain, c.dealing.cid}, slog.LevelDebug, "connection not delivered", "socket", program.Does, "peer", from, "error", err)
		return false
	}
	run, no := s.book(c)
	if no != nil {
		return refuse(no)
	}
	if err := splice.TryNames(c.dealing.cid, from.Port, func(name string) (err error) {
		c.conn, err = connectAt(program.Does, name)
		return err
	}); err != nil {
		s.leave(c)
		return refuse(err)
	}
	run(func(ctx context.Context, s *Server, _ Stack) { s.join(ctx, conn, c.conn) })
	return true
}

// newIncoming makes a client of a connection that came in for a program.
func newIncoming(conn *vsock.Conn, program Client) *client {
	return &client{
		Client: program, incoming: true, domain: conn.Peer().String(),
		dealing: dealingFrom(conn, program.UID),
	}
}

// connectAt connects to the unix socket at path under a name of ours. A full backlog is
// an error (EAGAIN).
func connectAt(path, name string) (*net.UnixConn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if err = unix.Bind(fd, &unix.SockaddrUnix{Name: name}); err == nil {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return connOf(fd)
}
