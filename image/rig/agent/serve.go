package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"sync"
	"time"

	"xvsock/image/rig/wire"
)

const (
	// controlPort is the first port of the first virtio serial device.
	controlPort = "/dev/vport0p1"
	// portWait bounds how long the port may take to appear, and then to be
	// ready to be opened, after its driver was loaded. Much, for a machine
	// that has other things to do.
	portWait = time.Minute
	// guestLogs is where xenconsoled writes what guests say.
	guestLogs = "/var/log/xen/console"
	// orphanDelay is how long output is waited for after a command ended
	// while a process that it left behind holds its output open.
	orphanDelay = 500 * time.Millisecond
)

// serve brings dom0 up, says so, and does what the rig asks until the rig is
// gone.
func serve() error {
	began := uptime()
	plan, err := readPlan()
	if err != nil {
		return err
	}
	if err := loadModules(plan.ControlModules); err != nil {
		return err
	}
	port, err := openPort()
	if err != nil {
		return err
	}
	defer port.Close()
	out := wire.NewWriter(port)
	step := func(what string) { _ = out.Write(0, wire.KindStep, []byte(what)) }
	if err := setUp(plan, step); err != nil {
		log.Print(err)
		_ = out.Write(0, wire.KindFailed, []byte(err.Error()))
		return err
	}
	if err := followConsoles(guestLogs, out); err != nil {
		return err
	}
	if err := out.WriteJSON(0, wire.KindReady, wire.Ready{StartedAt: began, ReadyAt: uptime()}); err != nil {
		return err
	}
	return newAgent(out).run(bufio.NewReaderSize(port, wire.MaxPayload))
}

func openPort() (*os.File, error) {
	for deadline := time.Now().Add(portWait); ; {
		port, err := os.OpenFile(controlPort, os.O_RDWR, 0)
		if err == nil {
			return port, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("open the control port: %w", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// agent holds the open streams.
type agent struct {
	out *wire.Writer

	mu      sync.Mutex
	streams map[uint32]stream
}

// stream is a command or a file. Neither call may block: they are made by the
// one reader.
type stream interface {
	input(data []byte) // an empty one is the end
	signal(wire.Signal)
}

func newAgent(out *wire.Writer) *agent {
	return &agent{out: out, streams: make(map[uint32]stream)}
}

// open takes s as the stream id until close.
func (a *agent) open(id uint32, s stream) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.streams[id] = s
}

// close says how a stream ended, and forgets it.
func (a *agent) close(id uint32, how wire.Exit) {
	a.mu.Lock()
	delete(a.streams, id)
	a.mu.Unlock()
	if err := a.out.WriteJSON(id, wire.KindExit, how); err != nil {
		log.Print(err)
	}
}

// stream gives an open stream, or one that takes no notice.
func (a *agent) stream(id uint32) stream {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s, ok := a.streams[id]; ok {
		return s
	}
	return closedStream{}
}

// closedStream is what has ended while the rig still spoke to it.
type closedStream struct{}

func (closedStream) input([]byte)       {}
func (closedStream) signal(wire.Signal) {}

func (a *agent) run(in io.Reader) error {
	for {
		f, err := wire.Read(in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the control port: %w", err)
		}
		if err := a.handle(f); err != nil {
			return err
		}
	}
}

func (a *agent) handle(f wire.Frame) error {
	switch f.Kind {
	case wire.KindExec:
		var exec wire.Exec
		if err := f.Decode(&exec); err != nil {
			return err
		}
		a.startCommand(f.Stream, exec)
	case wire.KindPut:
		var put wire.Put
		if err := f.Decode(&put); err != nil {
			return err
		}
		a.startFile(f.Stream, put)
	case wire.KindSignal:
		var signal wire.Signal
		if err := f.Decode(&signal); err != nil {
			return err
		}
		a.stream(f.Stream).signal(signal)
	case wire.KindStdin, wire.KindData:
		a.stream(f.Stream).input(f.Payload)
	default:
		return fmt.Errorf("%w: kind %d is not for the agent", wire.ErrFrame, f.Kind)
	}
	return nil
}
