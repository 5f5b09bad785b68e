package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"xvsock/bench"
	"xvsock/daemon"
	"xvsock/services"
	"xvsock/vsock"
)

// runner returns what runs a plan against a target, the way that --via says.
func (f *benchFlags) runner(a *app, text string) (func(context.Context, bench.Plan) (bench.Result, error), error) {
	t, port, err := benchTarget(text)
	if err != nil {
		return nil, err
	}
	var dial bench.Dial
	switch f.via {
	case viaDaemon:
		return func(ctx context.Context, p bench.Plan) (bench.Result, error) {
			// The daemon bounds it; this is for a daemon that hangs.
			ctx, cancel := context.WithTimeout(ctx, p.Limit()+answerMargin)
			defer cancel()
			var out daemon.BenchReply
			err := a.stream(ctx, daemon.MethodBench, daemon.NewBenchArgs(t.domain, port, p), func(reply json.RawMessage) error {
				return json.Unmarshal(reply, &out)
			})
			return out.Result, err
		}, nil
	case viaDoor:
		dial = benchDoor(f.door(), t)
	case viaKernel:
		to, err := parseVsock(fmt.Sprintf("%s:%d", t.domain, port))
		if err != nil {
			return nil, err
		}
		dial = to.dial
	default:
		return nil, fmt.Errorf("--via %.40q: use %s, %s or %s", f.via, viaDaemon, viaDoor, viaKernel)
	}
	return func(ctx context.Context, p bench.Plan) (bench.Result, error) {
		r, err := bench.Run(ctx, dial, p, nil)
		r.Via = f.via
		return r, err
	}, nil
}

// benchTarget reads DOMAIN or DOMAIN:PORT. The port is a number, or a well-known name.
func benchTarget(text string) (t target, port uint32, err error) {
	if !strings.Contains(text, ":") {
		text += ":" + services.WellKnown(services.PortBench)
	}
	if t, err = parseTarget(text); err != nil {
		return t, 0, err
	}
	if port, err = services.ParsePort(t.port); err != nil {
		return t, 0, fmt.Errorf("port %.40q: use a number, or leave it out", t.port)
	}
	return t, port, nil
}

// benchDoor connects through the daemon's unix socket.
func benchDoor(door vsock.Door, t target) bench.Dial {
	return func(ctx context.Context) (net.Conn, error) {
		c, err := door.DialContext(ctx, t.String())
		switch {
		case err == nil:
			return c, nil
		case errors.Is(err, syscall.ECONNREFUSED) && t.port == services.WellKnown(services.PortBench):
			return nil, fmt.Errorf("connect to %v: nobody serves that port there; start it with service=%s", t, t.port)
		}
		return nil, connectError(t, err)
	}
}
