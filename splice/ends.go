package splice

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// Cut ends a connection so that its other end sees a loss, and does not take the part
// that it has for the whole. It may be called for one that is closed.
func Cut(c net.Conn) {
	switch conn := c.(type) {
	case interface{ Reset() error }: // vsock.Conn
		_ = conn.Reset()
	case *net.TCPConn:
		_ = conn.SetLinger(0) // RST
		conn.Close()
	default:
		c.Close() // a unix socket can say no more
	}
}

// CloseWrite tells the other end that no more comes, where it can be said apart from
// the connection's end.
func CloseWrite(c io.Writer) bool {
	half, can := c.(interface{ CloseWrite() error })
	return can && half.CloseWrite() == nil
}

// CloseRead tells the other end that nothing more is read. One that has closed both
// directions has nobody to tell.
func CloseRead(c net.Conn) bool {
	half, can := c.(interface{ CloseRead() error })
	if !can {
		return false
	}
	err := half.CloseRead()
	return err == nil || errors.Is(err, syscall.ENOTCONN)
}
