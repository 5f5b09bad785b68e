package payload

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"xvsock/services"
	"xvsock/splice"
)

const (
	// drainTime is what connections have, after a program that was told to end has
	// ended, to carry its last words.
	drainTime = 500 * time.Millisecond
	// proveTime is what a program must live before it is offered.
	proveTime = 300 * time.Millisecond
)

// onceService is the payload of a program for the life of the service.
type onceService struct {
	door
	config  Config
	args    []string
	voice   *voice
	buffers splice.Buffers
	ready   *running // by Prepare, for Serve
	running atomic.Pointer[running]
}

// NewOnce returns a service that runs one program for as long as it serves: args are
// its path, which is absolute, and its arguments. The program gets a listening unix
// stream socket as descriptor 3, by the protocol of sd_listen_fds(3): LISTEN_FDS=1,
// LISTEN_PID, and LISTEN_FDNAMES with the service's name; XVSOCK_SERVICE and
// XVSOCK_PORT beside it. Its standard output and standard error go to the log.
//
// Each connection of a peer is joined to one to that socket, whose other end has the
// abstract name "xvsock/CID/PORT/SERIAL" ("@xvsock/..." in Go): the peer's address,
// and a random number that no other connection has. Nobody else can connect to the socket:
// its name is in a directory that only this process's user may enter, and that is
// removed with the service. So the name can be trusted, which else it cannot, as anybody
// may bind one like it (splice.TryNames). A connection ends with the program's end of it, and is reset
// when the program is killed.
//
// The service is prepared when the program has lived for 0.3 s; one that ends before
// never takes a connection. When it ends later, Serve ends with an error that says how
// and after how long.
// When the service is to end, the program gets SIGTERM, and SIGKILL 2 s later; its
// connections go on until it has ended.
//
// The program is started through this process's own binary (see Trampoline).
func NewOnce(c Config, args []string) services.Service {
	s := &onceService{config: c.withDefaults(), args: args}
	s.voice = newVoice(s.config.Log)
	s.init(s.config, s.handle)
	return s
}

// Prepare implements services.Preparer: it starts the program, and sees whether it
// lives on.
func (s *onceService) Prepare(ctx context.Context) error {
	s.discard()
	if err := checkProgram(s.args, s.config.UID, s.config.GID); err != nil {
		return err
	}
	r, err := s.launch()
	if err != nil {
		return err
	}
	if err := r.survives(ctx, proveTime, s.args[0]); err != nil {
		r.end()
		return err
	}
	s.ready = r
	return nil
}

// discard ends a program that was prepared, and then there was no Serve.
func (s *onceService) discard() {
	if r := s.ready; r != nil {
		s.ready = nil
		r.end()
	}
}

// Close implements io.Closer.
func (s *onceService) Close() error {
	s.discard()
	return s.door.Close()
}

// Serve implements services.Service. One that was not prepared starts the program.
func (s *onceService) Serve(ctx context.Context, l net.Listener) error {
	defer l.Close()
	r := s.ready
	s.ready = nil
	if r == nil {
		var err error
		if r, err = s.launch(); err != nil {
			return err
		}
	}
	defer r.end()
	s.running.Store(r)
	return s.serveWith(ctx, s.open(l), r)
}

// serveWith serves until the program ends or ctx does. Connections are not the
// context's, so that the program is asked to end before they are cut.
func (s *onceService) serveWith(ctx context.Context, o *opening, r *running) error {
	var bad splice.Accident
	defer bad.Rethrow()
	served := make(chan error, 1)
	go bad.Careful(func() { served <- s.serve(context.WithoutCancel(ctx), o) }, func() { served <- splice.ErrPanic })()
	p := r.program
	select {
	case <-p.process.Done():
		o.shut(r.obituary(s.args[0]))
		return <-served
	case err := <-served:
		p.stop()
		return err
	case <-ctx.Done():
	}
	o.shut(ctx.Err())
	<-served
	p.stop()
	s.settle()
	return nil
}

// settle ends all connections, with a moment for those whose end is on its way.
func (s *onceService) settle() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.acceptor.Wait()
	}()
	within(done, drainTime)
	s.door.Close()
	<-done
}

func (s *onceService) handle(ctx context.Context, conn net.Conn, caller services.Caller) {
	r := s.running.Load()
	far, err := s.dial(ctx, r, caller)
	if err != nil {
		splice.Cut(conn)
		s.voice.warn("connection not joined", "domain", caller.Domain, "error", err)
		return
	}
	p := splice.Pair{Near: conn, Far: far, Buffers: &s.buffers, Untaken: s.config.Untaken, Died: r.program.died}
	_ = p.Run(ctx) // an end, which is all that either side may know
}

// dial connects to the program under the caller's name.
func (s *onceService) dial(ctx context.Context, r *running, caller services.Caller) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	return dialAs(ctx, r.inlet.path, caller)
}
