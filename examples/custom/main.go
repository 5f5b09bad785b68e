// Command custom is xvsock with a service of its own: the same binary in every other
// way, PID 1 and command line, that can also run "clock", which tells the time.
//
//	go build -o custom ./examples/custom
//	./custom image build --set service=clock ... -o clock.cpio.gz
//
// A service that is part of the binary needs no program in the image and no copy of
// the data between two processes. One that is a program needs no build of xvsock:
// see examples/kv.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"xvsock/launch"
	"xvsock/services"
)

func main() {
	launch.Main(launch.Options{Version: "custom", Services: []launch.Service{{
		Info: services.Info{Name: "clock", Port: 1000, Txt: map[string]string{"format": "rfc3339"}},
		New: func(identify services.Identify, log *slog.Logger) services.Service {
			return newClock(identify, log)
		},
	}}})
}

// writeTimeout is how long a caller may take to take the time.
const writeTimeout = 5 * time.Second

// clock implements services.Service: it writes the time and ends the connection.
type clock struct{ acceptor services.Acceptor }

func newClock(identify services.Identify, log *slog.Logger) *clock {
	return &clock{services.Acceptor{
		Identify: identify, Log: log,
		Handle: func(_ context.Context, conn net.Conn, _ services.Caller) {
			conn.SetDeadline(time.Now().Add(writeTimeout))
			// A caller that has gone meanwhile is none of our business.
			_, _ = fmt.Fprintln(conn, time.Now().UTC().Format(time.RFC3339Nano))
		},
	}}
}

// Serve implements services.Service.
func (c *clock) Serve(ctx context.Context, l net.Listener) error { return c.acceptor.Serve(ctx, l) }
