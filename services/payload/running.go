package payload

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"xvsock/splice"
)

// running is the program of an exec-once service with its socket and what it writes.
type running struct {
	program *program
	inlet   *inlet
	output  *outlet
	said    chan struct{} // closed when the output is at its end

	splice.Accident
}

// launch starts the program with a socket of its own.
func (s *onceService) launch() (*running, error) {
	i, err := newInlet(s.config.Dir)
	if err != nil {
		return nil, err
	}
	r, err := s.start(i)
	if err != nil {
		i.remove()
		return nil, fmt.Errorf("start %s: %w", s.args[0], err)
	}
	return r, nil
}

// start starts the program with the inlet's socket.
func (s *onceService) start(i *inlet) (*running, error) {
	r, w, err := os.Pipe()
	if err != nil {
		closeAll([]*os.File{i.socket})
		return nil, err
	}
	cmd := s.config.command(s.args, "LISTEN_FDS=1", "LISTEN_FDNAMES="+s.config.Name)
	throughTrampoline(cmd)
	cmd.Stdout, cmd.Stderr = w, w
	cmd.ExtraFiles = []*os.File{i.socket}
	// Our own copy of the socket is closed: what waits in its backlog is to be
	// refused when the program ends.
	p, err := s.config.start(cmd, s.voice, w, i.socket)
	if err != nil {
		r.Close()
		return nil, err
	}
	e := &running{program: p, inlet: i, output: newOutlet(r), said: make(chan struct{})}
	go e.Careful(e.listen, e.kill)()
	return e, nil
}

// listen carries what the program says to the log.
func (r *running) listen() {
	defer close(r.said)
	l := &lines{voice: r.program.voice, pid: r.program.process.PID()}
	var buffer [4 << 10]byte
	(&splice.Flow{Src: r.output, Dst: l}).Run(buffer[:])
	l.flush()
}

// kill ends a program to which nobody listens any more.
func (r *running) kill() { r.program.signal(unix.SIGKILL) }

// survives waits for a time, and returns an error if the program ends in it.
func (r *running) survives(ctx context.Context, d time.Duration, path string) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-r.program.process.Done():
		return r.obituary(path)
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// obituary says how the program ended.
func (r *running) obituary(path string) error {
	r.program.ended()
	if err := r.program.failure(path); err != nil {
		return err
	}
	return fmt.Errorf("%s ended after %v: exit status 0", path, r.program.took.Round(time.Millisecond))
}

// end stops the program if it runs, and leaves nothing of it.
func (r *running) end() {
	if !r.program.ended() {
		r.program.stop()
	}
	if !r.program.stopped.Load() {
		within(r.said, restTime)
	}
	r.program.bury()
	r.output.finish()
	<-r.said
	r.output.Close()
	r.inlet.remove()
	r.Rethrow()
}
