package vsock

import (
	"context"
	"net"
)

// DoorPath is where the daemon of a domain listens for its programs.
const DoorPath = "/run/xvsock/vsock.sock"

// Door is the daemon's unix socket, through which any program of the domain makes and
// takes connections. The zero value is the door at DoorPath.
type Door struct {
	Path string
}

// DialContext connects to "DOMAIN:PORT": a name, id, uuid, CID or @backend, and a port's
// number or a service's name. The connection has CloseRead and CloseWrite.
func (d Door) DialContext(ctx context.Context, address string) (net.Conn, error) { panic("not yet") }

// Listen takes the connections to a port of this domain; 0 picks a free one.
func (d Door) Listen(ctx context.Context, port uint32) (net.Listener, error) { panic("not yet") }

// DialContext is Door.DialContext at DoorPath.
func DialContext(ctx context.Context, address string) (net.Conn, error) {
	return Door{}.DialContext(ctx, address)
}

// Dial is DialContext without a context.
func Dial(address string) (net.Conn, error) { return DialContext(context.Background(), address) }

// Listen is Door.Listen at DoorPath.
func Listen(port uint32) (net.Listener, error) { return Door{}.Listen(context.Background(), port) }
