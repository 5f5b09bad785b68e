package payload

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"xvsock/services"
)

const (
	// drainTime is what connections have, after a program that was told to end has
	// ended, to carry its last words.
	drainTime = 500 * time.Millisecond
	// nameTries bounds the names that are tried for one connection.
	nameTries = 8
)

// onceService is the payload of a program for the life of the service.
type onceService struct {
	door
	config  Config
	args    []string
	voice   *voice
	buffers buffers
	serial  atomic.Uint64 // of the next connection
	path    atomic.Pointer[string]
}

// NewOnce returns a service that runs one program for as long as it serves: args are
// its path, which is absolute, and its arguments. The program gets a listening unix
// stream socket as descriptor 3, by the protocol of sd_listen_fds(3): LISTEN_FDS=1,
// LISTEN_PID, and LISTEN_FDNAMES with the service's name; XVSOCK_SERVICE and
// XVSOCK_PORT beside it. Its standard output and standard error go to the log.
//
// Each connection of a peer is joined to one to that socket, whose other end has the
// abstract name "xvsock/CID/PORT/SERIAL" ("@xvsock/..." in Go): the peer's address,
// and a number that no other connection has. Nobody else can connect to the socket:
// its name is in a directory that only this process's user may enter, and that is
// removed with the service.
//
// When the program ends, Serve ends with an error that says how and after how long.
// When the service is to end, the program gets SIGTERM, and SIGKILL 2 s later; its
// connections go on until it has ended.
//
// The program is started through this process's own binary (see Trampoline).
func NewOnce(c Config, args []string) services.Service {
	s := &onceService{config: c.withDefaults(), args: args}
	s.voice = newVoice(s.config.Log)
	s.serial.Store(rand.Uint64N(1 << 62)) // other services of the domain count too
	s.init(s.config, s.handle)
	return s
}

// Prepare implements services.Preparer.
func (s *onceService) Prepare(context.Context) error {
	return checkProgram(s.args, s.config.UID, s.config.GID)
}

// Serve implements services.Service.
func (s *onceService) Serve(ctx context.Context, l net.Listener) error {
	defer l.Close()
	inlet, err := newInlet(s.config.Dir)
	if err != nil {
		return err
	}
	defer inlet.remove()
	run, err := s.start(inlet)
	if err != nil {
		return fmt.Errorf("start %s: %w", s.args[0], err)
	}
	defer run.end()
	s.path.Store(&inlet.path)
	return s.serveWith(ctx, s.open(l), run.program)
}

// serveWith serves until the program ends or ctx does. Connections are not the
// context's, so that the program is asked to end before they are cut.
func (s *onceService) serveWith(ctx context.Context, o *opening, p *program) error {
	served := make(chan error, 1)
	go func() { served <- s.serve(context.WithoutCancel(ctx), o) }()
	select {
	case <-p.process.Done():
		o.shut(s.obituary(p))
		return <-served
	case err := <-served:
		p.stop()
		return err
	case <-ctx.Done():
	}
	o.shut(ctx.Err())
	<-served
	p.stop()
	s.drain()
	return nil
}

// obituary says how the program ended.
func (s *onceService) obituary(p *program) error {
	took := time.Since(p.began).Round(time.Millisecond)
	if err := p.status(); err != nil {
		return fmt.Errorf("%s ended after %v: %w", s.args[0], took, err)
	}
	return fmt.Errorf("%s ended after %v: exit status 0", s.args[0], took)
}

// drain ends all connections, with a moment for those whose end is on its way.
func (s *onceService) drain() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.acceptor.Wait()
	}()
	within(done, drainTime)
	s.Close()
	<-done
}

func (s *onceService) handle(ctx context.Context, conn net.Conn, caller services.Caller) {
	far, err := s.dial(ctx, caller)
	if err != nil {
		s.voice.warn("connection not joined", "domain", caller.Domain, "error", err)
		return
	}
	(&pair{near: conn, far: far, buffers: &s.buffers, untaken: s.config.Untaken}).run(ctx)
}

// dial connects to the program under the caller's name.
func (s *onceService) dial(ctx context.Context, caller services.Caller) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	for try := 1; ; try++ {
		name := fmt.Sprintf("@xvsock/%d/%d/%d", cidOf(caller), caller.Port, s.serial.Add(1))
		d := net.Dialer{LocalAddr: &net.UnixAddr{Name: name, Net: "unix"}}
		conn, err := dial(ctx, d, "unix", *s.path.Load())
		if err == nil || try == nameTries || !errors.Is(err, unix.EADDRINUSE) {
			return conn, err
		}
	}
}

// execution is the program with what it writes.
type execution struct {
	program *program
	output  *outlet
	said    chan struct{} // closed when the output is at its end
}

// start starts the program with the inlet's socket.
func (s *onceService) start(i *inlet) (*execution, error) {
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
	e := &execution{program: p, output: newOutlet(r), said: make(chan struct{})}
	go func() {
		defer close(e.said)
		l := &lines{voice: s.voice, pid: p.process.PID()}
		var buffer [4 << 10]byte
		(&flow{src: e.output, dst: l}).run(buffer[:])
		l.flush()
	}()
	return e, nil
}

// end is after the program's end.
func (e *execution) end() {
	if !e.program.stopped {
		within(e.said, restTime)
	}
	e.program.bury()
	e.output.finish()
	<-e.said
	e.output.Close()
}
