package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"xvsock/services"
	"xvsock/services/discovery"
	"xvsock/services/varlink"
	"xvsock/vsock"
)

// byCID turns the CID of a domain, in the hexadecimal or the decimal of a socket
// program, into what people call the domain. All else, a domain's id too, stays as it
// is.
func byCID(spec string) string {
	digits, hex := strings.CutPrefix(spec, "0x")
	base := 10
	if hex {
		base = 16
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil {
		return spec
	}
	switch cid := uint32(n); cid {
	case vsock.CIDSelf:
		return "self"
	case vsock.CIDBackend:
		return "@backend"
	default:
		if id, ok := vsock.DomainOf(cid); ok {
			return strconv.FormatUint(uint64(id), 10)
		}
		return spec
	}
}

// address is where a program of this domain wants to: a domain as people call it, and
// the number or the name of a port there. A name that is not well known is looked up in
// the backend's directory, which shows this domain what it may connect to.
//
// The error wraps the errno that the program is told.
func (d *daemon) address(ctx context.Context, r role, domain, port string) (vsock.Addr, error) {
	to, err := r.target(domain)
	if err != nil {
		return vsock.Addr{}, told(err)
	}
	if p, err := services.ParsePort(port); err == nil {
		return vsock.Addr{CID: to.cid, Port: p}, nil
	}
	if err := services.CheckName(port); err != nil {
		return vsock.Addr{}, fmt.Errorf("%q is neither a port nor the name of a service: %w", port, syscall.EINVAL)
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	var found discovery.Record
	c := &controlSocket{daemon: d, role: r}
	err = c.ask(ctx, "", func(ctx context.Context, client *discovery.Client) (err error) {
		found, err = r.resolve(ctx, client, port, domain)
		return err
	})
	switch {
	case errors.Is(err, discovery.ErrServiceNotFound):
		return vsock.Addr{}, &toldError{
			fmt.Sprintf("%s offers no service %q that this domain may connect to; see xvsock services", domain, port),
			syscall.ECONNREFUSED,
		}
	case err != nil:
		return vsock.Addr{}, fmt.Errorf("service %q of %q: %w", port, domain, told(err))
	}
	return vsock.Addr{CID: to.cid, Port: found.Port}, nil
}

// told gives an error of a query the errno by which a program at the unix socket knows
// it.
func told(err error) error {
	switch {
	case errors.Is(err, ErrAmbiguousDomain):
		return &toldError{textOf(err), syscall.ENOTUNIQ}
	case errors.Is(err, ErrDenied):
		return &toldError{textOf(err), syscall.EACCES}
	}
	return &toldError{textOf(err), syscall.EHOSTUNREACH}
}

// toldError is an error of a query in words for people.
type toldError struct {
	text  string
	errno syscall.Errno
}

// Error implements error.
func (e *toldError) Error() string { return e.text }

// Unwrap returns the errno.
func (e *toldError) Unwrap() error { return e.errno }

// textOf is what an error that the control socket answers with says to people.
func textOf(err error) string {
	var reply *varlink.Error
	var said struct {
		Message string `json:"message"`
	}
	if errors.As(err, &reply) && json.Unmarshal(reply.Parameters, &said) == nil && said.Message != "" {
		return said.Message
	}
	return err.Error()
}
