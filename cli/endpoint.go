package cli

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"strings"

	"golang.org/x/sys/unix"

	"xvsock/vsock"
)

// The forms of the two ends of a proxy, for errors.
const (
	localForms  = "unix:/PATH, tcp:[HOST:]PORT, vsock:PORT or xvsock:PORT"
	remoteForms = "unix:/PATH, tcp:[HOST:]PORT, vsock:CID:PORT or xvsock:NAME:PORT"
)

// local is an end that connections are taken at. Its String can be parsed again.
type local interface {
	fmt.Stringer
	listen(context.Context) (net.Listener, error)
}

// remote is an end that is connected to. Its String can be parsed again.
type remote interface {
	fmt.Stringer
	dial(context.Context) (net.Conn, error)
}

// ends reads what a command line calls an end.
type ends struct {
	door vsock.Door  // of xvsock ends
	mode fs.FileMode // of the sockets of unix ends
}

// local reads the end to listen at.
func (e ends) local(text string) (local, error) {
	kind, rest, _ := strings.Cut(text, ":")
	switch kind {
	case "unix":
		return parseUnix(rest, e.mode)
	case "tcp":
		return parseTCP(rest, true)
	case "vsock":
		port, err := parseVsockPort(strings.TrimPrefix(rest, "*:"), true)
		return &kernelEnd{vsock.Addr{CID: unix.VMADDR_CID_ANY, Port: port}}, err
	case "xvsock":
		port, err := parseListenPort(rest)
		return &doorListen{door: e.door, port: port}, err
	}
	return nil, fmt.Errorf("%.80q is no end to listen at: use %s", text, localForms)
}

// remote reads the end to connect to.
func (e ends) remote(text string) (remote, error) {
	kind, rest, _ := strings.Cut(text, ":")
	switch kind {
	case "unix":
		return parseUnix(rest, e.mode)
	case "tcp":
		return parseTCP(rest, false)
	case "vsock":
		return parseVsock(rest)
	case "xvsock":
		t, err := parseTarget(rest)
		return &doorDial{e.door, t}, err
	}
	return nil, fmt.Errorf("%.80q is no end to connect to: use %s", text, remoteForms)
}
