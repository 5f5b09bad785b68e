// Package services holds what a domain offers to others: the table of
// well-known ports, the registry of the domain's own services with their
// health, and the supervisor that runs them.
//
// A service takes a net.Listener and knows nothing of Xen, so that each one
// can be run and tested over any listener. Who is calling is told by whoever
// made the connection (Identify), never by the bytes of the caller.
package services

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// A Service serves the connections of one listener.
type Service interface {
	// Serve accepts connections until ctx is done and returns after all work
	// for them has stopped. It owns the listener and closes it. It is called
	// again, with a new listener, after it returned or panicked, unless the
	// error wraps ErrFinished. A panic in a goroutine of its own ends the
	// process, so that connections are best served through an Acceptor.
	Serve(ctx context.Context, l net.Listener) error
}

// ErrFinished, wrapped by the error of a Service, says that it has done what
// it was for: it is not started again.
var ErrFinished = errors.New("service finished")

// Info names a service.
type Info struct {
	Name string            // by the rule of CheckName
	Port uint32            // 1 to 0xFFFFFFFE; the well-known one for a well-known name
	Txt  map[string]string // optional remarks by the rule of CheckTxt; not changed once given
}

// Check returns an error if a word of i breaks a rule. A well-known name keeps
// its port, because the name may be written wherever that port is meant.
func (i Info) Check() error {
	if err := CheckName(i.Name); err != nil {
		return err
	}
	if !ValidPort(i.Port) {
		return fmt.Errorf("%w: %d", ErrPort, i.Port)
	}
	if p, known := PortOf(i.Name); known && p != i.Port {
		return fmt.Errorf("%w: %s is port %d", ErrPort, i.Name, p)
	}
	return CheckTxt(i.Txt)
}
