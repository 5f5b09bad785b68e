package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"xvsock/splice"
	"xvsock/vsock"
)

// program is what is started for connections, each of which it has as its standard
// input and output.
type program struct {
	path   string
	args   []string
	stderr io.Writer
}

// serve starts the program for each connection, so many at once, until ctx ends, and
// then ends those that run.
func (p *program) serve(ctx context.Context, at *doorListen, l net.Listener, most int, log *slog.Logger) {
	warn := newWarner(log)
	in := inlet{at: at, most: most, warn: warn, serve: func(ctx context.Context, conn net.Conn) {
		defer conn.Close()
		if err := p.run(ctx, conn, at.port); err != nil && ctx.Err() == nil {
			warn.warn("program", "peer", conn.RemoteAddr().String(), "error", err)
		}
	}}
	in.run(ctx, l)
}

// run runs the program with a connection to the port, until the program ends. When ctx
// ends it is made to.
func (p *program) run(ctx context.Context, conn net.Conn, port uint32) error {
	cmd, err := p.start(conn, port)
	if err != nil {
		splice.Cut(conn)
		return fmt.Errorf("start %s: %w", p.path, err)
	}
	conn.Close() // the program has it now
	exited := make(chan struct{})
	go func() {
		awaitExit(cmd.Process.Pid)
		close(exited)
	}()
	select {
	case <-exited:
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		stopGroup(cmd.Process.Pid, exited)
		_ = cmd.Wait()
		return context.Cause(ctx)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w", p.path, err)
	}
	return nil
}

// start starts the program, as the leader of a group of its own: a terminal's Ctrl-C is
// for this process, which tells the programs.
func (p *program) start(conn net.Conn, port uint32) (*exec.Cmd, error) {
	stream, err := descriptor(conn)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	cmd := &exec.Cmd{
		Path: p.path, Args: p.args,
		Stdin: stream, Stdout: stream, Stderr: p.stderr,
		Env:         append(surroundings(), addresses(conn, port)...),
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
		WaitDelay:   programTime, // others may hold its standard error
	}
	return cmd, cmd.Start()
}

// descriptor returns a connection's descriptor for a program. That it waits, as programs
// expect of their standard input, os/exec sees to.
func descriptor(conn net.Conn) (*os.File, error) {
	filer, ok := conn.(interface{ File() (*os.File, error) })
	if !ok {
		return nil, errors.New("this connection is no descriptor that a program could have")
	}
	return filer.File()
}

// surroundings is the environment of this process without what it says of a peer: that
// would be another.
func surroundings() []string {
	var env []string
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "XVSOCK_PEER_") {
			env = append(env, entry)
		}
	}
	return env
}

// addresses are both ends of a connection, for a program's environment.
func addresses(conn net.Conn, port uint32) []string {
	env := []string{fmt.Sprintf("XVSOCK_PORT=%d", port)}
	if peer, ok := conn.RemoteAddr().(vsock.Addr); ok {
		env = append(env, fmt.Sprintf("XVSOCK_PEER_CID=%d", peer.CID), fmt.Sprintf("XVSOCK_PEER_PORT=%d", peer.Port))
	}
	return env
}
