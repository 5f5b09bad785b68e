package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"xvsock/bridge/afsock"
	"xvsock/services"
	"xvsock/vsock"
)

// kernelEnd is a port of the kernel's AF_VSOCK.
type kernelEnd struct{ addr vsock.Addr }

// parseVsock reads CID:PORT.
func parseVsock(text string) (*kernelEnd, error) {
	cid, port, both := strings.Cut(text, ":")
	if !both {
		return nil, fmt.Errorf("vsock:%.80s: use vsock:CID:PORT, such as vsock:3:22", text)
	}
	c, err := parseNumber(cid)
	if err != nil || c == unix.VMADDR_CID_ANY {
		return nil, fmt.Errorf("vsock:%.80s: CID %.20q: use a number from 0 to 4294967294", text, cid)
	}
	p, err := parseVsockPort(port, false)
	return &kernelEnd{vsock.Addr{CID: c, Port: p}}, err
}

// parseVsockPort reads a port of the kernel's; one to listen at may be 0, for any.
func parseVsockPort(text string, listen bool) (uint32, error) {
	port, err := parseNumber(text)
	switch {
	case err == nil && (services.ValidPort(port) || listen && port == 0):
		return port, nil
	case listen:
		return 0, fmt.Errorf("vsock:%.80s: use vsock:PORT, which is heard from every CID; PORT is a number from 0, for any, to 4294967294", text)
	}
	return 0, fmt.Errorf("vsock port %.20q: use a number from 1 to 4294967294", text)
}

// parseNumber reads 32 bits in decimal, or in hexadecimal after 0x.
func parseNumber(text string) (uint32, error) {
	digits, base := text, 10
	if hex, ok := strings.CutPrefix(text, "0x"); ok {
		digits, base = hex, 16
	}
	n, err := strconv.ParseUint(digits, base, 32)
	return uint32(n), err
}

// String implements fmt.Stringer.
func (e *kernelEnd) String() string {
	if e.addr.CID == unix.VMADDR_CID_ANY {
		return fmt.Sprintf("vsock:*:%d", e.addr.Port)
	}
	return "vsock:" + e.addr.String()
}

func (e *kernelEnd) listen(context.Context) (net.Listener, error) {
	l, err := afsock.Listen(e.addr.Port)
	if err != nil {
		return nil, kernelListenError(err)
	}
	if e.addr.Port == 0 {
		e.addr.Port = l.Addr().(vsock.Addr).Port // to be had again
	}
	return l, nil
}

func (e *kernelEnd) dial(ctx context.Context) (net.Conn, error) {
	c, err := afsock.Dial(ctx, e.addr)
	if err != nil {
		return nil, kernelDialError(err)
	}
	return c, nil
}

// noKernel is what to do where the kernel has no AF_VSOCK at all.
const noKernel = "this kernel has no AF_VSOCK: name it as xvsock instead, or load the module vhost_vsock"

// kernelListenError adds to an error of listening what to do about it.
func kernelListenError(err error) error {
	switch {
	case errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("%w: %s", err, noKernel)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: only root may listen on a port below %d", err, services.PortPrivileged)
	}
	return err
}

// kernelDialError adds to an error of connecting what to do about it. The kernel says
// ENODEV where it has no device for the CID: none at all, or the one that it has does not
// take this CID, as of a domain that is not there or not open to this one.
func kernelDialError(err error) error {
	switch {
	case errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("%w: %s", err, noKernel)
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%w: no domain has this CID, or policy does not open it (see `xvsock peers`), "+
			"or AF_VSOCK is not served here (see `xvsock status`; it takes the module vhost_vsock)", err)
	case errors.Is(err, unix.ECONNRESET):
		return fmt.Errorf("%w: refused, or denied by policy, which the kernel cannot tell apart", err)
	}
	return err
}
