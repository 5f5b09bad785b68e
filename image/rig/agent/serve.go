package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
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
	if err := setUp(plan); err != nil {
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

// agent holds the open streams. Only run's goroutine touches the map; a
// stream that ends by itself leaves its entry, which costs a pointer.
type agent struct {
	out     *wire.Writer
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
		a.streams[f.Stream] = startCommand(f.Stream, exec, a.out)
	case wire.KindPut:
		var put wire.Put
		if err := f.Decode(&put); err != nil {
			return err
		}
		a.streams[f.Stream] = startFile(f.Stream, put, a.out)
	case wire.KindSignal:
		var signal wire.Signal
		if err := f.Decode(&signal); err != nil {
			return err
		}
		if s := a.streams[f.Stream]; s != nil {
			s.signal(signal)
		}
	case wire.KindStdin, wire.KindData:
		if s := a.streams[f.Stream]; s != nil {
			s.input(f.Payload)
		}
	default:
		return fmt.Errorf("%w: kind %d is not for the agent", wire.ErrFrame, f.Kind)
	}
	return nil
}
