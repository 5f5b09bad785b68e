package rig

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"xvsock/image/rig/wire"
)

const (
	// guestLogDir is where xenconsoled writes guests' consoles.
	guestLogDir = "/var/log/xen/console"
	// tailLines is how much of a console an error shows.
	tailLines = 25
	// exitGrace is how long QEMU may take to end after the control channel
	// has, so that the reason is known.
	exitGrace = 8 * time.Second
)

// ErrHostDown says that the emulated host has ended.
var ErrHostDown = errors.New("the Xen host is down")

// Timing is how long a boot took.
type Timing struct {
	// Prepare is for building dom0's initramfs, Xen from QEMU's start until
	// dom0's kernel was entered, Kernel until its PID 1 worked, Setup until
	// the toolstack was ready. Total is from QEMU's start until ready.
	Prepare, Xen, Kernel, Setup, Total time.Duration
}

func (t Timing) String() string {
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
	return fmt.Sprintf("booted in %s (Xen %s, dom0's kernel %s, toolstack %s; initramfs built in %s)",
		seconds(t.Total), seconds(t.Xen), seconds(t.Kernel), seconds(t.Setup), seconds(t.Prepare))
}

// Host is a running Xen host. Its methods may be called from many goroutines.
type Host struct {
	// Parts is what it was booted from, Config with what.
	Parts  *Parts
	Config Config
	// Timing says how long the boot took.
	Timing Timing
	// Console is what Xen and dom0's kernel say.
	Console *Transcript

	logs    *logs
	machine *machine
	out     *wire.Writer
	release []func()       // in reverse order, at Close
	readers sync.WaitGroup // of the control channel and the console

	ctx  context.Context // ends when the host does, with the reason
	fail context.CancelCauseFunc
	boot chan wire.Ready
	step atomic.Value // string: what bringing up dom0 does

	mu       sync.Mutex
	next     uint32 // the next stream
	streams  map[uint32]*Process
	consoles map[string]*Transcript
	closed   bool

	sent sentFiles // that several guests boot from
}

// Start boots a Xen host and returns when its toolstack is ready. The caller
// must Close it. While too many emulated hosts run on this machine already,
// Start waits for one of them to end.
func Start(ctx context.Context, c Config) (*Host, error) {
	c = c.withDefaults()
	if missing := Missing(); len(missing) > 0 {
		return nil, fmt.Errorf("start a Xen host: %s missing here: apt-get install --no-install-recommends %s",
			plural(len(missing), "package is", "packages are"), strings.Join(missing, " "))
	}
	parts, err := Fetch(ctx)
	if err != nil {
		return nil, err
	}
	h := &Host{
		Parts: parts, Config: c,
		boot:    make(chan wire.Ready, 1),
		streams: make(map[uint32]*Process), consoles: make(map[string]*Transcript), sent: newSentFiles(),
		next: 1,
	}
	h.step.Store("waiting for dom0's agent")
	h.ctx, h.fail = context.WithCancelCause(context.Background())
	if err := h.start(ctx); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func (h *Host) start(ctx context.Context) error {
	var err error
	if h.logs, err = newLogs(h.Config.LogDir); err != nil {
		return err
	}
	h.release = append(h.release, h.logs.close)
	dir, err := os.MkdirTemp("", "xvsock-rig-")
	if err != nil {
		return err
	}
	h.release = append(h.release, func() { _ = os.RemoveAll(dir) })
	if err := h.prepare(ctx, dir); err != nil {
		return err
	}
	releaseSlot, err := takeSlot(ctx)
	if err != nil {
		return err
	}
	h.release = append(h.release, releaseSlot)
	if err := h.startMachine(ctx, dir); err != nil {
		return err
	}
	// QEMU has read all of it: nothing is left behind if this process is killed.
	return os.RemoveAll(dir)
}

// prepare puts into dir what QEMU boots.
func (h *Host) prepare(ctx context.Context, dir string) error {
	begin := time.Now()
	agent := filepath.Join(dir, "agent")
	if err := BuildProgram(ctx, agentPackage, agent); err != nil {
		return err
	}
	if err := writeInitramfs(ctx, h.Parts, h.Config, agent, filepath.Join(dir, initramfsFile)); err != nil {
		return err
	}
	if err := link(dir, xenFile, h.Parts.Xen); err != nil {
		return err
	}
	if err := link(dir, dom0File, h.Parts.Dom0.Boot); err != nil {
		return err
	}
	h.Timing.Prepare = time.Since(begin)
	return nil
}

func (h *Host) startMachine(ctx context.Context, dir string) error {
	consoleLog, err := h.logs.timed("console.log")
	if err != nil {
		return err
	}
	qemuLog, err := h.logs.open("qemu.log")
	if err != nil {
		return err
	}
	fmt.Fprintf(qemuLog, "%s %q\n", qemuProgram, qemuArgs(h.Config))
	h.Console = newTranscript(consoleLog)
	begin := time.Now()
	if h.machine, err = startMachine(h.Config, dir, qemuLog); err != nil {
		return err
	}
	h.out = wire.NewWriter(h.machine.control)
	h.readers.Go(h.readConsole)
	h.readers.Go(h.readControl)
	return h.awaitBoot(ctx, begin)
}

// awaitBoot waits until dom0 says that it is ready.
func (h *Host) awaitBoot(ctx context.Context, begin time.Time) error {
	ctx, cancel := context.WithTimeoutCause(ctx, h.Config.BootTimeout,
		fmt.Errorf("not ready %v after the start", h.Config.BootTimeout))
	defer cancel()
	select {
	case ready := <-h.boot:
		h.Timing.Total = time.Since(begin)
		seconds := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
		h.Timing.Setup = seconds(ready.ReadyAt - ready.StartedAt)
		h.Timing.Kernel = seconds(ready.StartedAt)
		h.Timing.Xen = h.Timing.Total - h.Timing.Setup - h.Timing.Kernel
		h.logs.event("%s", h.Timing)
		return nil
	case <-h.ctx.Done():
		return fmt.Errorf("boot the Xen host: %w", context.Cause(h.ctx))
	case <-ctx.Done():
		return fmt.Errorf("boot the Xen host: %w, while %s; the console's last lines were:\n%s",
			context.Cause(ctx), h.step.Load(), h.Console.Tail(tailLines))
	}
}

// readConsole collects the serial console until QEMU closes it.
func (h *Host) readConsole() {
	_, _ = io.Copy(h.Console, h.machine.console)
	h.Console.end()
	<-h.machine.done
	h.down(h.machine.err)
}

// down ends the host with a reason, unless it has one.
func (h *Host) down(reason error) {
	h.fail(fmt.Errorf("%w: %w; the console's last lines were:\n%s", ErrHostDown, reason, h.Console.Tail(tailLines)))
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.consoles {
		t.end()
	}
	for _, p := range h.streams {
		p.abandon()
	}
}

// readControl hands out what the agent says until the channel ends.
func (h *Host) readControl() {
	err := h.dispatchAll(bufio.NewReaderSize(h.machine.control, wire.MaxPayload))
	select {
	case <-h.machine.done: // readConsole gives the better reason
	case <-time.After(exitGrace):
		h.down(fmt.Errorf("dom0's agent is gone: %w", err))
	}
}

func (h *Host) dispatchAll(in io.Reader) error {
	for {
		f, err := wire.Read(in)
		if err != nil {
			return err
		}
		if err := h.dispatch(f); err != nil {
			return err
		}
	}
}

func (h *Host) dispatch(f wire.Frame) error {
	switch f.Kind {
	case wire.KindReady:
		var ready wire.Ready
		if err := f.Decode(&ready); err != nil {
			return err
		}
		select {
		case h.boot <- ready:
		default:
		}
	case wire.KindStep:
		h.step.Store(string(f.Payload))
		h.logs.event("dom0: %s", f.Payload)
	case wire.KindFailed:
		h.down(fmt.Errorf("dom0 could not be set up: %s", f.Payload))
	case wire.KindConsole:
		var console wire.Console
		if err := f.Decode(&console); err != nil {
			return err
		}
		_, _ = h.guestConsole(console.Guest).Write(console.Text)
	default:
		h.mu.Lock()
		p := h.streams[f.Stream]
		h.mu.Unlock()
		if p != nil {
			return p.handle(f)
		}
	}
	return nil
}

// guestConsole gives the transcript of all guests that had this name.
func (h *Host) guestConsole(name string) *Transcript {
	h.mu.Lock()
	defer h.mu.Unlock()
	t, ok := h.consoles[name]
	if !ok {
		t = newTranscript(h.logs.optional("guest-" + name + ".log"))
		h.consoles[name] = t
	}
	return t
}

// Done is closed when the host has ended, by Close or by itself.
func (h *Host) Done() <-chan struct{} { return h.ctx.Done() }

// Err says why the host has ended; nil while it runs.
func (h *Host) Err() error { return context.Cause(h.ctx) }

// LogDir is where this run is logged.
func (h *Host) LogDir() string { return h.logs.dir }

// Close ends the host at once and gives back all it used. Logs stay.
func (h *Host) Close() {
	h.mu.Lock()
	closed := h.closed
	h.closed = true
	h.mu.Unlock()
	if closed {
		return
	}
	h.fail(fmt.Errorf("%w: closed", ErrHostDown))
	if h.machine != nil {
		h.machine.kill()
		h.readers.Wait()
		_ = h.machine.control.Close()
	}
	for i := len(h.release) - 1; i >= 0; i-- {
		h.release[i]()
	}
}
