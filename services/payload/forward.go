package payload

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"xvsock/services"
	"xvsock/splice"
)

const (
	dialTime = 5 * time.Second
	// crowdedPause is how long to wait for a place in the backlog of a unix socket.
	crowdedPause = 20 * time.Millisecond
)

// forwardService is the payload of a socket in the domain.
type forwardService struct {
	door
	config           Config
	network, address string
	voice            *voice
	buffers          splice.Buffers
	reached          atomic.Int64 // when the target last took a connection, in Unix nanoseconds
}

// NewForward returns a service that joins each connection to one to a socket of the
// domain: network is "unix", or "tcp" with "HOST:PORT". A target at a unix socket finds
// the caller's name as its remote address, as a program of NewOnce does. Others who may
// connect to that socket can have such a name too: it counts if SO_PEERCRED says that this
// process's user has connected, or if the socket's rights let nobody else in.
//
// The service cannot be prepared while the target takes no connection. When nobody is
// there any more to take one, which the next connection or probe finds out, Serve ends
// with that error, so that the service is NOT_SERVING and peers are refused; but
// connections that were joined before go on until they end themselves, or the service
// is stopped. A target that is there and busy, so that a connection waits for 5 s in
// vain, costs that connection alone: peers can make it busy.
func NewForward(c Config, network, address string) services.Service {
	s := &forwardService{config: c.withDefaults(), network: network, address: address}
	s.voice = newVoice(s.config.Log)
	s.init(s.config, s.handle)
	return s
}

// Prepare implements services.Preparer: it tries the target.
func (s *forwardService) Prepare(ctx context.Context) error {
	conn, err := s.dial(ctx, nil)
	if err != nil {
		return err
	}
	conn.Close()
	return nil
}

// Serve implements services.Service.
func (s *forwardService) Serve(ctx context.Context, l net.Listener) error {
	o := s.open(l)
	probing, stop := context.WithCancel(ctx)
	var bad splice.Accident
	var probes sync.WaitGroup
	probes.Go(bad.Careful(func() { s.probe(probing, o) }, func() { o.shut(splice.ErrPanic) }))
	defer bad.Rethrow()
	defer probes.Wait()
	defer stop()
	return s.serve(ctx, o)
}

func (s *forwardService) handle(ctx context.Context, conn net.Conn, caller services.Caller) {
	o := s.current()
	far, err := s.dial(ctx, &caller)
	if err != nil {
		splice.Cut(conn)
		if ctx.Err() != nil {
			return
		}
		s.voice.warn("connection not forwarded", "domain", caller.Domain, "error", err)
		if absent(err) {
			o.shut(err)
		}
		return
	}
	p := splice.Pair{Near: conn, Far: far, Buffers: &s.buffers, Untaken: s.config.Untaken}
	_ = p.Run(ctx) // an end, which is all that either side may know
}

// probe tries the target whenever nobody has reached it for the time between probes.
func (s *forwardService) probe(ctx context.Context, o *opening) {
	if s.config.Probe < 0 {
		return
	}
	ticker := time.NewTicker(s.config.Probe)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if time.Since(time.Unix(0, s.reached.Load())) < s.config.Probe {
			continue
		}
		if err := s.Prepare(ctx); err != nil && ctx.Err() == nil && absent(err) {
			o.shut(err)
			return
		}
	}
}

// dial connects to the target: to a unix socket under the name of the caller, if it is
// for one.
func (s *forwardService) dial(ctx context.Context, caller *services.Caller) (conn net.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	if caller != nil && s.network == "unix" {
		conn, err = dialAs(ctx, s.address, *caller)
	} else {
		conn, err = dial(ctx, net.Dialer{}, s.network, s.address)
	}
	if err != nil {
		return nil, fmt.Errorf("forward to %s:%s: %w", s.network, s.address, cause(err))
	}
	s.reached.Store(time.Now().UnixNano())
	return conn, nil
}

// dial waits for a place where the kernel does not: a full backlog of a unix socket
// is an error there.
func dial(ctx context.Context, d net.Dialer, network, address string) (net.Conn, error) {
	for {
		conn, err := d.DialContext(ctx, network, address)
		if !errors.Is(err, unix.EAGAIN) {
			return conn, err
		}
		select {
		case <-time.After(crowdedPause):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// dialAs connects to the unix socket at path under the name of the caller.
func dialAs(ctx context.Context, path string, caller services.Caller) (conn net.Conn, err error) {
	err = splice.TryNames(cidOf(caller), caller.Port, func(name string) error {
		d := net.Dialer{LocalAddr: &net.UnixAddr{Name: name, Net: "unix"}}
		conn, err = dial(ctx, d, "unix", path)
		return err
	})
	return conn, err
}

// cause takes off what a dial puts around an error, which is said already.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// absent reports whether a dial's error says that nobody takes connections at the
// address. All else may pass: a full backlog, a dial that took too long, and what this
// process is out of.
func absent(err error) bool {
	var name *net.DNSError
	if errors.As(err, &name) {
		return name.IsNotFound
	}
	return slices.ContainsFunc([]unix.Errno{
		unix.ECONNREFUSED, unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.EACCES, unix.EPERM,
		unix.EPROTOTYPE, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.ENETDOWN,
	}, func(e unix.Errno) bool { return errors.Is(err, e) })
}
