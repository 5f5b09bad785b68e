package main

import (
	"net"

	"xvsock/sim"
)

// contestant is one way for two programs to be connected.
type contestant struct {
	name   string // benchstat's value of the key "by"
	mode   string // access mode of a link of ours, "loop" for one within the process; "" if it is not ours
	sleeps bool   // a link of ours that never polls
	open   func() (*wire, error)
}

// ours reports whether it is a link of xvsock's.
func (c contestant) ours() bool { return c.mode != "" }

// wire is a contestant's connection, with a server at its other end.
type wire struct {
	client
	// counts are the calls of both domains into the simulated host so far; nil if
	// there is none.
	counts func() [2]sim.Counts
	stop   func() error // ends both ends, and says what went wrong meanwhile
}

// newWire returns the wire of a connection at whose other end somebody serves; stop
// ends all of it but conn.
func newWire(conn net.Conn, stop func() error) *wire {
	return &wire{client: client{conn: conn}, stop: func() error {
		err := conn.Close()
		return first(err, stop())
	}}
}

// contestants are all that there are. The peers are between two processes, as
// programs are, and between two goroutines, as both domains of package sim are.
func contestants() []contestant {
	return append(links(),
		contestant{name: "unix-goroutines", open: func() (*wire, error) { return goroutines(plain{}) }},
		contestant{name: "unix-processes", open: func() (*wire, error) { return processes(plain{}) }},
		contestant{name: "yamux-goroutines", open: func() (*wire, error) { return goroutines(yamuxed{}) }},
		contestant{name: "yamux-processes", open: func() (*wire, error) { return processes(yamuxed{}) }},
	)
}

// first returns the first error that is one.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
