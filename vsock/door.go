package vsock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"

	"xvsock/vsock/hybrid"
)

// DoorPath is where the daemon of a domain listens for its programs.
const DoorPath = "/run/xvsock/vsock.sock"

const (
	// doorTime is how long the daemon has for an answer, which is more than it takes.
	doorTime = 30 * time.Second
	// crowdedPause is how long to wait for a place where many programs come at once.
	crowdedPause = 20 * time.Millisecond
)

// ErrNoDaemon says that no daemon of the domain answers at a Door.
var ErrNoDaemon = errors.New("no xvsock daemon answers")

// ErrNotAllowed says that this user may not use a Door. A connection that is denied gives
// EACCES instead, and both are fs.ErrPermission.
var ErrNotAllowed = fmt.Errorf("%w for this user", fs.ErrPermission)

// Door is the daemon's unix socket, through which any program of the domain makes and
// takes connections. The zero value is the door at DoorPath.
//
// A connection through it is a unix socket: what is lost on the way, as when the other
// domain is destroyed, reads as io.EOF.
type Door struct {
	Path string
}

// DialContext connects to "DOMAIN:PORT": a name, id, uuid, CID, "self" or "@backend",
// and a port's number or a service's name. The last colon is the one that counts. The
// connection has CloseRead and CloseWrite. It is given up when ctx ends.
//
// The error is a *net.OpError around what the daemon said: the errnos of Stack.Dial, and
// EACCES for a port that no program of this domain may connect to; or it wraps ErrNoDaemon,
// ErrNotAllowed if this user may not use the door, or ErrAddr.
func (d Door) DialContext(ctx context.Context, address string) (net.Conn, error) {
	remote := remoteAddr(address)
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: opDial, Net: network, Addr: remote, Err: err}
	}
	i := strings.LastIndexByte(address, ':')
	if i < 1 {
		return fail(fmt.Errorf("%w, such as db1:echo: %.64q", ErrAddr, address))
	}
	conn, port, err := d.ask(ctx, hybrid.Request{Verb: hybrid.Connect, Domain: address[:i], Port: address[i+1:]})
	if err != nil {
		return fail(err)
	}
	return &doorConn{UnixConn: conn, local: Addr{CID: CIDSelf, Port: port}, remote: remote}, nil
}

// Listen takes the connections to a port of this domain; 0 picks a free one, which the
// listener's Addr tells. What it accepts has the peer's Addr as the remote address. ctx
// is for the making of it; it ends with its Close, or with the daemon.
//
// The error is a *net.OpError around EADDRINUSE, or EACCES for a port below 1024 if
// this process is not root's; or as of DialContext. An Accept that finds no descriptor
// free gives EMFILE and is Temporary: the connection is lost, and the listener goes on.
func (d Door) Listen(ctx context.Context, port uint32) (net.Listener, error) {
	addr := Addr{CID: CIDSelf, Port: port}
	conn, port, err := d.ask(ctx, hybrid.Request{Verb: hybrid.Listen, Port: strconv.FormatUint(uint64(port), 10)})
	if err != nil {
		return nil, listenError(opListen, err, addr)
	}
	addr.Port = port
	return &doorListener{conn: conn, addr: addr}, nil
}

// DialContext is Door.DialContext at DoorPath.
func DialContext(ctx context.Context, address string) (net.Conn, error) {
	return Door{}.DialContext(ctx, address)
}

// Dial is DialContext without a context.
func Dial(address string) (net.Conn, error) { return DialContext(context.Background(), address) }

// Listen is Door.Listen at DoorPath.
func Listen(port uint32) (net.Listener, error) { return Door{}.Listen(context.Background(), port) }

// ask makes a request of the daemon, and returns the connection on which it said OK and
// the port that it named.
func (d Door) ask(ctx context.Context, r hybrid.Request) (_ *net.UnixConn, port uint32, err error) {
	line, err := r.Line()
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrAddr, err)
	}
	ctx, cancel := context.WithTimeout(ctx, doorTime)
	defer cancel()
	conn, err := d.open(ctx)
	if err != nil {
		return nil, 0, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	answer, err := exchange(conn, line)
	if err == nil {
		port, err = hybrid.ParseOK(answer)
	}
	if !stop() {
		// It may be about to spoil the connection.
		err = dialError(ctx, errors.Join(err, ctx.Err()))
	}
	if err != nil {
		conn.Close()
		return nil, 0, err
	}
	return conn, port, nil
}

// exchange says a line and reads the answer, and no byte more. A daemon that has refused
// already need not have taken the line.
func exchange(conn *net.UnixConn, line []byte) (string, error) {
	_, unsaid := conn.Write(line)
	answer, err := hybrid.ReadLine(conn)
	switch {
	case err == nil:
		return answer, nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return "", errDaemonGone
	}
	return "", errors.Join(unsaid, err)
}

// errDaemonGone is for a daemon that ended while it was spoken to. It looks like a lost
// connection.
var errDaemonGone error = &errnoError{errors.New("the xvsock daemon has ended"), syscall.ECONNRESET}

// open connects to the daemon. Where too many programs come at once it waits.
func (d Door) open(ctx context.Context) (*net.UnixConn, error) {
	path := d.Path
	if path == "" {
		path = DoorPath
	}
	for {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "unix", path)
		switch {
		case err == nil:
			return conn.(*net.UnixConn), nil
		case ctx.Err() != nil:
			return nil, dialError(ctx, err)
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
			return nil, syscall.ETIMEDOUT // ctx's, a moment before its Err
		case !errors.Is(err, syscall.EAGAIN):
			return nil, openError(path, err)
		}
		select {
		case <-time.After(crowdedPause):
		case <-ctx.Done():
		}
	}
}

// openError says why the daemon cannot be reached, and what to do.
func openError(path string, err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w at %s: start `xvsock backend` or `xvsock domain`", ErrNoDaemon, path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("only %s may use %s: %w", users(path), path, ErrNotAllowed)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// users says who may connect to the socket.
func users(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return "others"
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || info.Mode().Perm()&0o020 == 0 || stat.Gid == 0 {
		return "root"
	}
	group := strconv.FormatUint(uint64(stat.Gid), 10)
	if g, err := user.LookupGroupId(group); err == nil {
		group = g.Name
	}
	return "root and the group " + group
}
