// Command kv is a small key-value service, and an example of a payload: it knows
// net.Listener and nothing of Xen. Everything is in memory.
//
// Where its listener comes from is the only thing it has to know of its surroundings:
//
//   - started with LISTEN_FDS and LISTEN_PID, by the protocol of sd_listen_fds(3), it
//     takes descriptor 3; so it is started by the service kind exec-once of xvsock, and systemd
//   - with -listen unix:/path or -listen tcp:HOST:PORT it listens there; the service
//     kind forward of xvsock, and a developer's machine, reach it so
//
// As a static program it is all that a domain needs beside xvsock:
//
//	CGO_ENABLED=0 go build -o kv ./examples/kv
//	xvsock image build --add kv --set service=kv:7000:exec-once:/kv -o kv.cpio.gz
//
// # Protocol
//
// Lines that end with a newline, each answered by one, KEYS by several:
//
//	GET key          VALUE text    or NONE
//	SET key text     OK            or ERROR full
//	DEL key          OK            or NONE
//	KEYS             KEY key ..., END
//	QUIT             the connection's end
//	anything else    ERROR reason
//
// A key is 1 to 64 printable ASCII characters without blanks, a text up to 4096 bytes
// of anything but a newline. There are at most 10000 keys, 8 MiB in all, and 256
// connections, each of which may be idle for two minutes. SIGTERM ends it within a
// second: what it has read is answered.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	address := flag.String("listen", "", "where to listen: unix:/path or tcp:HOST:PORT; without it, the socket given by LISTEN_FDS")
	flag.Parse()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := run(*address, log); err != nil {
		log.Error("kv", "error", err)
		os.Exit(1)
	}
}

func run(address string, log *slog.Logger) error {
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	l, err := listen(address, os.Getenv)
	if err != nil {
		return err
	}
	log.Info("serving", "address", l.Addr().String())
	err = newServer(log).serve(ctx, l)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
