package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// serveVariable has this program, started again, be the server of a wire between two
// processes. Its value is the name of the dialect.
const serveVariable = "XVSOCK_NATIVE_SERVE"

// servedFile is the server's end of the socket pair: the first file after the usual.
const servedFile = 3

// childPatience is how long a server in a process of its own has to end once its
// connection has.
const childPatience = 5 * time.Second

// dialect is what is spoken over a socket pair.
type dialect interface {
	name() string
	// dial returns the client's connection over raw, and what closes all below it.
	dial(raw net.Conn) (net.Conn, func() error, error)
	// serve serves that connection until raw ends.
	serve(raw net.Conn) error
}

// plain is the socket itself.
type plain struct{}

func (plain) name() string { return "plain" }

func (plain) dial(raw net.Conn) (net.Conn, func() error, error) {
	return raw, func() error { return nil }, nil
}

func (plain) serve(raw net.Conn) error { return serve(raw) }

// socketPair returns the two ends of a new AF_UNIX stream.
func socketPair() (a, b *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket pair: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "client"), os.NewFile(uintptr(fds[1]), "server"), nil
}

// connOf turns an end into a connection, which has a descriptor of its own.
func connOf(f *os.File) (net.Conn, error) {
	defer f.Close()
	return net.FileConn(f)
}

// goroutines connects two goroutines of this process.
func goroutines(d dialect) (*wire, error) {
	a, b, err := socketPair()
	if err != nil {
		return nil, err
	}
	near, nearErr := connOf(a)
	far, farErr := connOf(b)
	if err := errors.Join(nearErr, farErr); err != nil {
		return nil, err
	}
	served := make(chan error, 1)
	go func() { served <- d.serve(far) }()
	return dial(d, near, func() error { return <-served })
}

// processes connects this process with another one that runs the same program.
func processes(d dialect) (*wire, error) {
	a, b, err := socketPair()
	if err != nil {
		return nil, err
	}
	near, err := connOf(a)
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	child := exec.Command("/proc/self/exe")
	child.Env = append(os.Environ(), serveVariable+"="+d.name())
	child.ExtraFiles = []*os.File{b}
	child.Stderr = os.Stderr
	err = child.Start()
	b.Close()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the server: %w", err), near.Close())
	}
	return dial(d, near, func() error {
		late := time.AfterFunc(childPatience, func() { child.Process.Kill() })
		defer late.Stop()
		return child.Wait()
	})
}

// dial begins to speak d over near, whose server's end join waits for.
func dial(d dialect, near net.Conn, join func() error) (*wire, error) {
	conn, below, err := d.dial(near)
	if err != nil {
		return nil, first(err, near.Close(), join())
	}
	return newWire(conn, func() error { return first(below(), join()) }), nil
}

// serveChild is the server in a process of its own, if this process is to be one.
func serveChild() (is bool, err error) {
	name := os.Getenv(serveVariable)
	if name == "" {
		return false, nil
	}
	raw, err := connOf(os.NewFile(servedFile, "server"))
	if err != nil {
		return true, fmt.Errorf("the socket that was handed down: %w", err)
	}
	for _, d := range []dialect{plain{}, yamuxed{}} {
		if d.name() == name {
			return true, d.serve(raw)
		}
	}
	return true, fmt.Errorf("there is no dialect %q", name)
}
