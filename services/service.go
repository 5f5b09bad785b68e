// Package services holds what a domain offers to others: the table of
// well-known ports, the registry of the domain's own services with their
// health, and the supervisor that runs them.
//
// A service takes a net.Listener and knows nothing of Xen, so that each one
// can be run and tested over any listener. Who is calling is told by whoever
// made the connection (Identify), never by the bytes of the caller.
//
// Whoever writes a service of their own, for a build of the binary that has it
// built in, implements Service; the package example is one. Preparer, Counter, Faulter
// and io.Closer are for services that need more.
package services

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// A Service serves the connections of one listener. A Supervisor runs it.
//
// # One life
//
// The supervisor calls Prepare, if the service is a Preparer, then makes a
// listener for the service's port and calls Serve with it. From there until Serve
// returns the service is SERVING, for health and discovery alike; at all other
// times it is NOT_SERVING.
//
// When Serve returns, panics, or the listener cannot be made, that life is over and
// the next begins after a pause: 0.2 s at first, twice as long after each failure in
// a row up to 5 s, and short again after 30 s of health. So a service returns the
// error that it cannot deal with; it does not retry, nor sleep, nor end the process.
// An error that wraps ErrFinished means that there is nothing more to do: the service
// stays down until Supervisor.Restart.
//
// No two calls of a service overlap, but for Counts and Faults. State that is to outlive a life
// is kept in the fields of the service, all else in Serve. A service that leaves
// connections behind when a life ends (Acceptor.Outlive) implements io.Closer: Close
// is called once, after the last life, ends them and returns when they have ended.
//
// # The end
//
// When ctx is done, because the domain goes down, the service is removed or
// restarted, Serve stops accepting, ends its connections and every goroutine, and
// returns; what it returns then is not looked at. It has the supervisor's stop
// timeout, 5 s, for that; after it the service is given up and named in the log.
//
// # Connections
//
// The connections have half-close (CloseWrite, CloseRead) beside net.Conn's methods.
// Other domains are at their other ends, so that everything read is checked as what
// an enemy sent, and every wait has a deadline or a bound on how many may wait.
// Acceptor is the loop that does the common part: it tells who is calling, bounds the
// connections of one domain and in all, closes them at the end and turns the panic of
// a handler into the end of one connection. A panic in any other goroutine that the
// service starts ends the process, and with it the domain.
type Service interface {
	// Serve accepts connections from l until ctx is done, and returns after all
	// work for them has stopped. It owns l and closes it.
	Serve(ctx context.Context, l net.Listener) error
}

// Preparer is a Service that has something to do before it may be offered, such as
// to look for the program that it runs.
type Preparer interface {
	// Prepare is called before the listener is made, in every life of the service.
	// It returns within 30 s, or its ctx is done. Its error is the end of that life,
	// as one of Serve is. Serve may still not follow, as when there is no listener:
	// what Prepare holds then is for the next Prepare, or Close, to clear away.
	Prepare(ctx context.Context) error
}

// Counter is a Service that counts its connections, as an Acceptor does for it.
type Counter interface {
	// Counts returns how many connections are open, how many were served in all,
	// those open included, how many were closed unserved, and how many ended in a
	// panic. It may be called at any time and does not wait.
	Counts() (open, served, refused, panics uint64)
}

// Faulter is a Service that can do its work badly for one connection without ending
// because of it.
type Faulter interface {
	// Faults returns what went wrong last that was no end of the service, nil if
	// nothing ever did. It may be called at any time and does not wait.
	Faults() error
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
