package vsock

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"xvsock/vsock/hybrid"
)

// named is an address of which this program does not know the numbers. It implements
// net.Addr.
type named string

func (named) Network() string  { return network }
func (n named) String() string { return string(n) }

// remoteAddr is what is known of an address that is dialed: an Addr if it is numbers.
func remoteAddr(address string) net.Addr {
	if a, err := ParseAddr(address); err == nil {
		return a
	}
	return named(address)
}

// doorConn is a connection through a Door. It has all that a unix socket has.
type doorConn struct {
	*net.UnixConn
	local, remote net.Addr
}

// LocalAddr returns an Addr of CIDSelf.
func (c *doorConn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns an Addr, or what was dialed if that was a name.
func (c *doorConn) RemoteAddr() net.Addr { return c.remote }

// doorListener is a port that the daemon listens on for this process.
type doorListener struct {
	conn *net.UnixConn
	addr Addr

	asking sync.Mutex // one ACCEPT at a time
	closed atomic.Bool
}

// closeTime is how long the daemon has to free a port.
const closeTime = time.Second

// acceptLine is what is said for each connection.
var acceptLine = []byte(hybrid.Accept + "\n")

// Accept implements net.Listener.
func (l *doorListener) Accept() (net.Conn, error) {
	l.asking.Lock()
	defer l.asking.Unlock()
	c, err := l.accept()
	if err != nil {
		if l.closed.Load() {
			err = net.ErrClosed
		}
		return nil, listenError(opAccept, err, l.addr)
	}
	return c, nil
}

// accept asks for a connection, and waits for it.
func (l *doorListener) accept() (net.Conn, error) {
	_, unsaid := l.conn.Write(acceptLine)
	r := rightsReader{conn: l.conn}
	defer r.close()
	line, err := hybrid.ReadLine(&r)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return nil, errDaemonGone
	case err != nil:
		return nil, errors.Join(unsaid, err)
	}
	cid, port, err := hybrid.ParseAccepted(line)
	if err != nil {
		return nil, err
	}
	conn, err := r.take()
	if err != nil {
		return nil, err
	}
	return &doorConn{UnixConn: conn, local: l.addr, remote: Addr{CID: cid, Port: port}}, nil
}

// Close frees the port, refuses whom nobody has accepted, and unblocks Accept.
// Connections go on. When it returns the port is free, if the daemon lives.
func (l *doorListener) Close() error {
	if l.closed.Swap(true) {
		return listenError(opClose, net.ErrClosed, l.addr)
	}
	defer l.conn.Close()
	if l.conn.CloseWrite() == nil && l.conn.SetReadDeadline(time.Now().Add(closeTime)) == nil {
		_, _ = io.Copy(io.Discard, l.conn) // to the end, which the daemon makes then
	}
	return nil
}

// Addr returns an Addr of CIDSelf with the port.
func (l *doorListener) Addr() net.Addr { return l.addr }

// rightsReader reads what comes with descriptors, and keeps the first of them.
type rightsReader struct {
	conn *net.UnixConn
	got  *os.File
	lost bool // the kernel has dropped one
}

// Read implements io.Reader.
func (r *rightsReader) Read(p []byte) (int, error) {
	oob := make([]byte, unix.CmsgSpace(4)) // one descriptor: what has no room the kernel closes
	n, oobn, flags, _, err := r.conn.ReadMsgUnix(p, oob)
	r.lost = r.lost || flags&unix.MSG_CTRUNC != 0
	if oobn > 0 {
		err = errors.Join(err, r.keep(oob[:oobn]))
	}
	return n, err
}

// keep keeps the first descriptor and closes all others.
func (r *rightsReader) keep(oob []byte) error {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return err
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return err
		}
		for _, fd := range fds {
			if r.got != nil {
				unix.Close(fd)
				continue
			}
			r.got = os.NewFile(uintptr(fd), network)
		}
	}
	return nil
}

// take returns the descriptor's connection.
func (r *rightsReader) take() (*net.UnixConn, error) {
	switch {
	case r.got == nil && r.lost:
		// There is room for one, so that there was no place for it in this process.
		return nil, os.NewSyscallError("recvmsg", syscall.EMFILE)
	case r.got == nil:
		return nil, fmt.Errorf("%w: no descriptor came with it", hybrid.ErrLine)
	}
	c, err := net.FileConn(r.got)
	if err != nil {
		return nil, err
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("%w: no unix socket came with it", hybrid.ErrLine)
	}
	return conn, nil
}

func (r *rightsReader) close() {
	if r.got != nil {
		r.got.Close()
	}
}
