package conformance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"xvsock/evtchn"
	"xvsock/grant"
	"xvsock/xen"
	"xvsock/xenstore"
)

// What the test binary of this package is told by its environment. On real Xen
// it is copied into domain 0 and, for the cases of two domains, into a guest:
//
//	guest: XVSOCK_CONFORM_ROLE=agent conformance.test
//	dom0:  XVSOCK_CONFORM_PEER=<the guest's id> conformance.test -test.v
//	dom0:  conformance.test -test.v          (domain 0 as its own peer)
const (
	// RoleVariable holds the Role of the process, if it is not to run tests.
	RoleVariable = "XVSOCK_CONFORM_ROLE"
	// PeerVariable holds the id of the guest that runs the agent.
	PeerVariable = "XVSOCK_CONFORM_PEER"
	// OCamlVariable is not empty where the host's xenstored is oxenstored.
	OCamlVariable = "XVSOCK_CONFORM_OXENSTORED"
)

// Role is what a process of the test binary does instead of running tests.
type Role string

const (
	// RoleFar serves one far end on standard input and output.
	RoleFar Role = "far"
	// RoleAgent starts far ends for a driver in domain 0, for ever.
	RoleAgent Role = "agent"
)

// Run plays the role until it ends.
func (r Role) Run() error {
	switch r {
	case RoleFar:
		return serveFar()
	case RoleAgent:
		return runAgent()
	}
	return fmt.Errorf("%s=%q is no role", RoleVariable, string(r))
}

// Kernel opens the devices of this domain and makes an End of them. Close gives
// all of it back.
func Kernel(ctx context.Context) (end *Local, closeAll func() error, err error) {
	store, err := xenstore.Open()
	if err != nil {
		return nil, nil, err
	}
	defer store.Close()
	id, err := store.DomID(ctx)
	if errors.Is(err, os.ErrNotExist) {
		id, err = xen.DomID(0), nil // only domain 0 can be without that node
	}
	if err != nil {
		return nil, nil, err
	}
	grants, err := grant.Open(grant.Config{})
	if err != nil {
		return nil, nil, err
	}
	events, err := evtchn.Open(evtchn.Config{})
	if err != nil {
		return nil, nil, errors.Join(err, grants.Close())
	}
	end = NewLocal(id, grants, events, func() { os.Exit(0) })
	return end, func() error { return errors.Join(end.Close(), events.Close(), grants.Close()) }, nil
}

func serveFar() error {
	end, closeAll, err := Kernel(context.Background())
	if err != nil {
		return err
	}
	stdio := struct {
		io.Reader
		io.Writer
	}{os.Stdin, os.Stdout}
	return errors.Join(Serve(stdio, end), closeAll())
}

func runAgent() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	store, err := xenstore.Open()
	if err != nil {
		return err
	}
	defer store.Close()
	return Agent(ctx, store, Spawn)
}

// process is a far end in a process of its own.
type process struct {
	io.Reader
	io.WriteCloser
	cmd *exec.Cmd
}

// Spawn starts this program once more as RoleFar. Close ends its input, and waits
// until it has given back everything and ended.
func Spawn() (io.ReadWriteCloser, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start far end: %w", err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), RoleVariable+"="+string(RoleFar))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start far end: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start far end: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start far end: %w", err)
	}
	return &process{out, in, cmd}, nil
}

// Close implements io.Closer.
func (p *process) Close() error {
	p.WriteCloser.Close() // an error means that the process has ended already
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("far end: %w", err)
	}
	return nil
}
