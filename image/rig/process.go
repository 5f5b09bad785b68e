package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"xvsock/image/rig/wire"
)

// ErrOutput says that a command printed more than is kept.
var ErrOutput = errors.New("more output than is kept")

// killGrace is how long a killed command may take to be gone before Run stops
// waiting for it.
const killGrace = 5 * time.Second

// Result is what a command did.
type Result struct {
	Stdout, Stderr string
	// Code is the exit status; 128 plus the number for a signal.
	Code int
	// Took is how long it ran, as seen from here.
	Took time.Duration
}

// Process is a command that runs in dom0.
type Process struct {
	// Command is what was started.
	Command string
	// Output is what it printed, on both streams, in the order of arrival.
	Output *Transcript

	host           *Host
	id             uint32
	stdout, stderr *Transcript
	begin          time.Time

	mu      sync.Mutex
	pid     int
	exit    wire.Exit
	lost    bool          // the host ended first
	started chan struct{} // closed when pid is known
	over    chan struct{} // closed when it has ended
}

// begin opens a stream for a command or a file.
func (h *Host) begin(command string, log io.Writer, kind wire.Kind, request any) (*Process, error) {
	p := &Process{
		Command: command, Output: newTranscript(log), host: h,
		stdout: newTranscript(nil), stderr: newTranscript(nil), begin: time.Now(),
		started: make(chan struct{}), over: make(chan struct{}),
	}
	h.mu.Lock()
	p.id = h.next
	h.next++
	h.streams[p.id] = p
	h.mu.Unlock()
	if h.ctx.Err() != nil {
		p.abandon()
		return nil, context.Cause(h.ctx)
	}
	h.logs.event("#%d $ %s", p.id, command)
	if err := h.out.WriteJSON(p.id, kind, request); err != nil {
		return nil, h.writeError(err)
	}
	return p, nil
}

// writeError prefers the reason of the host's end to the symptom of it.
func (h *Host) writeError(err error) error {
	select {
	case <-h.ctx.Done():
		return context.Cause(h.ctx)
	case <-time.After(time.Second):
		return fmt.Errorf("write to dom0: %w", err)
	}
}

// handle takes a frame of this stream.
func (p *Process) handle(f wire.Frame) error {
	switch f.Kind {
	case wire.KindStarted:
		var started wire.Started
		if err := f.Decode(&started); err != nil {
			return err
		}
		p.mu.Lock()
		p.pid = started.PID
		p.mu.Unlock()
		close(p.started)
	case wire.KindStdout:
		_, _ = p.stdout.Write(f.Payload)
		_, _ = p.Output.Write(f.Payload)
	case wire.KindStderr:
		_, _ = p.stderr.Write(f.Payload)
		_, _ = p.Output.Write(f.Payload)
	case wire.KindExit:
		var exit wire.Exit
		if err := f.Decode(&exit); err != nil {
			return err
		}
		p.finish(exit, false)
		p.host.forget(p)
	}
	return nil
}

func (h *Host) forget(p *Process) {
	h.mu.Lock()
	delete(h.streams, p.id)
	h.mu.Unlock()
	h.logs.event("#%d exit %d %s after %.3f s", p.id, p.exit.Code, p.exit.Error, time.Since(p.begin).Seconds())
}

// abandon ends the stream because the host has ended.
func (p *Process) abandon() { p.finish(wire.Exit{Code: -1, Error: "the host is down"}, true) }

func (p *Process) finish(exit wire.Exit, lost bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.over:
		return
	default:
	}
	p.exit, p.lost = exit, lost
	p.Output.end()
	p.stdout.end()
	p.stderr.end()
	close(p.over)
}

// Start starts a shell command in dom0 that goes on by itself. What it prints
// is in its Output and in the log process-N.log.
func (h *Host) Start(ctx context.Context, command string) (*Process, error) {
	h.mu.Lock()
	name := fmt.Sprintf("process-%d.log", h.next)
	h.mu.Unlock()
	log := h.logs.optional(name)
	p, err := h.begin(command, log, wire.KindExec, shell("exec "+command))
	if err != nil {
		return nil, fmt.Errorf("start %q in dom0: %w", command, err)
	}
	select {
	case <-p.started:
		return p, nil
	case <-p.over:
		return nil, fmt.Errorf("start %q in dom0: %w", command, p.failure())
	case <-ctx.Done():
		return nil, fmt.Errorf("start %q in dom0: %w", command, context.Cause(ctx))
	}
}

func shell(command string) wire.Exec { return wire.Exec{Args: []string{"/bin/sh", "-c", command}} }

// Run runs a shell command in dom0 and waits for its end. An exit status
// other than 0 is no error. When ctx ends the command and all it started are
// killed, and the result has what was printed until then. A process that it
// leaves running must have its output elsewhere.
func (h *Host) Run(ctx context.Context, command string) (Result, error) {
	return h.exec(ctx, command, shell(command), nil)
}

// RunInput is Run with input on standard input.
func (h *Host) RunInput(ctx context.Context, command string, input []byte) (Result, error) {
	return h.exec(ctx, command, shell(command), input)
}

func (h *Host) exec(ctx context.Context, command string, request wire.Exec, input []byte) (Result, error) {
	p, err := h.begin(command, nil, wire.KindExec, request)
	if err == nil {
		err = h.feed(p.id, wire.KindStdin, input)
	}
	if err == nil {
		err = p.wait(ctx)
	}
	if err != nil {
		err = fmt.Errorf("run %q in dom0: %w", command, err)
	}
	if p == nil {
		return Result{}, err
	}
	result := p.result()
	h.logOutput(p.id, result)
	return result, err
}

// feed sends data and its end.
func (h *Host) feed(id uint32, kind wire.Kind, data []byte) error {
	_, err := h.out.Bytes(id, kind).Write(data)
	if err == nil {
		err = h.out.Write(id, kind, nil)
	}
	if err != nil {
		return h.writeError(err)
	}
	return nil
}

// wait waits for the end, and kills at the end of ctx.
func (p *Process) wait(ctx context.Context) error {
	select {
	case <-p.over:
		return p.failure()
	case <-ctx.Done():
	}
	cause := context.Cause(ctx)
	if err := p.signal(unix.SIGKILL, true); err != nil {
		return errors.Join(cause, err)
	}
	select {
	case <-p.over:
	case <-time.After(killGrace):
	}
	return cause
}

// failure says why the command could not be run, nil if it was.
func (p *Process) failure() error {
	p.mu.Lock()
	exit, lost := p.exit, p.lost
	p.mu.Unlock()
	switch {
	case lost:
		<-p.host.ctx.Done()
		return context.Cause(p.host.ctx)
	case exit.Error != "":
		return errors.New(exit.Error)
	case p.stdout.truncated() || p.stderr.truncated():
		return ErrOutput
	}
	return nil
}

func (p *Process) result() Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Result{Stdout: p.stdout.String(), Stderr: p.stderr.String(), Code: p.exit.Code, Took: time.Since(p.begin)}
}

func (h *Host) logOutput(id uint32, r Result) {
	for _, part := range []struct{ name, text string }{{"out", r.Stdout}, {"err", r.Stderr}} {
		for line := range strings.Lines(part.text) {
			h.logs.event("#%d %s: %s", id, part.name, line)
		}
	}
}

// PID is its process id in dom0.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid
}

// Signal sends it a signal.
func (p *Process) Signal(number unix.Signal) error { return p.signal(number, false) }

// Kill kills it and every process that it started.
func (p *Process) Kill() error { return p.signal(unix.SIGKILL, true) }

func (p *Process) signal(number unix.Signal, group bool) error {
	p.host.logs.event("#%d signal %d", p.id, int(number))
	err := p.host.out.WriteJSON(p.id, wire.KindSignal, wire.Signal{Number: int(number), Group: group})
	if err != nil {
		return p.host.writeError(err)
	}
	return nil
}

// Wait waits for its end and gives the exit status. Unlike Run it lets the
// process run on when ctx ends.
func (p *Process) Wait(ctx context.Context) (Result, error) {
	select {
	case <-p.over:
		return p.result(), p.failure()
	case <-ctx.Done():
		return p.result(), fmt.Errorf("wait for %q in dom0: %w", p.Command, context.Cause(ctx))
	}
}

// Expect waits for a line of its output; see Transcript.Expect.
func (p *Process) Expect(ctx context.Context, text string) (string, error) {
	line, err := p.Output.Expect(ctx, text)
	if err != nil {
		return "", fmt.Errorf("output of %q in dom0: %w", p.Command, err)
	}
	return line, nil
}
