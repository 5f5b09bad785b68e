package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"xvsock/bench"
	"xvsock/services"
	"xvsock/services/varlink"
	"xvsock/vsock"
)

var errMeasuring = errors.New("this daemon measures something else: wait until that is done")

// bench answers MethodBench: it dials in this process, so that what is measured is a
// link and what runs over it, and no socket of the kernel.
func (c *controlSocket) bench(ctx context.Context, call *varlink.Call) (any, error) {
	var args BenchArgs
	if err := call.Decode(&args); err != nil {
		return nil, err
	}
	port := cmp.Or(args.Port, services.PortBench)
	if !services.ValidPort(port) {
		return nil, varlink.Invalid("port")
	}
	plan := args.plan()
	if err := plan.Check(); err != nil {
		return nil, failed(err)
	}
	to, err := c.role.target(args.Domain)
	if err != nil {
		return nil, err
	}
	if !c.measuring.TryLock() {
		return nil, failed(errMeasuring)
	}
	defer c.measuring.Unlock()
	addr := vsock.Addr{CID: to.cid, Port: port}
	result, err := bench.Run(ctx, c.benchDial(addr), plan, func() bench.Counters { return c.linkCounts(addr) })
	if err != nil {
		return nil, failed(fmt.Errorf("%s of %q: %w", services.FormatPort(port), args.Domain, err))
	}
	return BenchReply{result}, nil
}

// linkCounts is what the link to a domain has counted; nil while there is none, and
// between two programs of this domain.
func (c *controlSocket) linkCounts(addr vsock.Addr) bench.Counters {
	for _, p := range c.stack.Peers() {
		if uint32(p.Domain) != addr.CID && (addr.CID != vsock.CIDBackend || p.Kind != vsock.ToBackend) {
			continue
		}
		n := p.Counts
		return bench.Counters{
			"copies": n.Copies, "segments": n.Segments, "notifies": n.Notifies,
			"polls": n.Polls, "naps": n.Naps, "sleeps": n.Sleeps,
		}
	}
	return nil
}

// benchDial makes connections to a bench service.
func (c *controlSocket) benchDial(addr vsock.Addr) bench.Dial {
	return func(ctx context.Context) (net.Conn, error) {
		conn, err := c.stack.Dial(ctx, addr)
		switch {
		case err == nil:
			return conn, nil
		case addr.Port == services.PortBench && errors.Is(err, syscall.ECONNREFUSED):
			return nil, fmt.Errorf("%w: nobody serves port %d there; start it with service=%s",
				err, addr.Port, services.WellKnown(addr.Port))
		}
		return nil, err
	}
}
