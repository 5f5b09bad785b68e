package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"xvsock/splice"
	"xvsock/vsock"
)

const (
	// defaultConnections is --max of `xvsock proxy`.
	defaultConnections = 256
	// proxyDialTime bounds how long REMOTE is waited for; a link may have to be made.
	proxyDialTime = 30 * time.Second
	// defaultLinger is --linger of `xvsock proxy`: what the daemon gives a connection of
	// which a side takes nothing, too.
	defaultLinger = 5 * time.Minute
)

// proxyFlags are those of `xvsock proxy`.
type proxyFlags struct {
	door  func() vsock.Door
	level *string
	mode  string
	max   int
	limit quiet
}

// proxyCommand is `xvsock proxy`.
func (a *app) proxyCommand() *cobra.Command {
	var f proxyFlags
	c := &cobra.Command{
		Use: "proxy LOCAL REMOTE", Short: "Pass on connections between unix, TCP and virtual sockets", Args: cobra.ExactArgs(2),
		Long: "proxy listens at LOCAL and connects to REMOTE for each connection, until it is ended by\n" +
			"SIGTERM. LOCAL and REMOTE are\n\n" +
			"  unix:/PATH         a unix socket; as LOCAL its file is made with --mode, one that nobody\n" +
			"                     listens at is replaced, and it is removed at the end; PATH.lock,\n" +
			"                     which is made beside it, stays\n" +
			"  tcp:[HOST:]PORT    TCP; HOST is 127.0.0.1 if it is not named, because whoever reaches the\n" +
			"                     proxy reaches REMOTE with this domain's rights; tcp:*:PORT as LOCAL\n" +
			"                     listens at all addresses\n" +
			"  vsock:CID:PORT     the kernel's AF_VSOCK; as LOCAL vsock:PORT, which every CID may call\n" +
			"  xvsock:NAME:PORT   a domain's port through the daemon; as LOCAL xvsock:PORT\n\n" +
			"NAME and PORT are those of `xvsock connect`. PORT 0 as LOCAL, where it is not a unix\n" +
			"socket, is any that is free: the log tells which.\n\n" +
			"The end of a direction is passed on, and the other goes on. A lost connection is reset on\n" +
			"the other side where that can be said, which is TCP alone: elsewhere it reads as the end.\n" +
			"A connection that cannot be made costs itself only. When the daemon restarts, an xvsock\n" +
			"LOCAL is listened at again; open connections through it end.\n\n" +
			"A client that has gone may leave no sign of it but silence. So a connection that carries\n" +
			"nothing for --linger is ended when one direction has ended already, or when a side does\n" +
			"not take what it is sent; and any connection that carries nothing for --idle, if that is\n" +
			"given. TCP is asked by keepalive whether the other host is there.\n\n" +
			"Exit status: 0 ended by a signal; 125 it could not listen at LOCAL.",
		Example: "  xvsock proxy unix:/run/db.sock xvsock:db1:5432\n" +
			"  xvsock proxy tcp:8080 xvsock:web-1:http\n" +
			"  xvsock proxy xvsock:22 tcp:22\n" +
			"  xvsock proxy vsock:9000 unix:/run/app.sock",
	}
	f.door = a.doorFlag(c)
	f.level = c.Flags().String("log", "info", "debug, info, warn or error")
	c.Flags().StringVar(&f.mode, "mode", "0600", "mode of the file of a unix LOCAL, in octal")
	c.Flags().IntVar(&f.max, "max", defaultConnections, "how many connections at once; further ones wait")
	c.Flags().DurationVar(&f.limit.idle, "idle", 0, "end a connection that carries nothing either way for so long, such as 1h (0: never)")
	c.Flags().DurationVar(&f.limit.linger, "linger", defaultLinger, "the same, where a direction has ended or a side takes nothing")
	c.RunE = func(c *cobra.Command, args []string) error { return f.run(c, args) }
	return c
}

// proxy passes on the connections of one end to another.
type proxy struct {
	remote  remote
	limit   quiet
	warn    *warner
	buffers splice.Buffers
}

func (f *proxyFlags) run(c *cobra.Command, args []string) error {
	at, to, log, err := f.read(c, args)
	if err != nil {
		return &setupError{err}
	}
	ctx := c.Context()
	l, err := at.listen(ctx)
	var setup *setupError
	switch {
	case errors.As(err, &setup):
		return err
	case err != nil:
		return &setupError{fmt.Errorf("listen at %v: %w", at, err)}
	}
	p := &proxy{remote: to, limit: f.limit, warn: newWarner(log)}
	in := inlet{at: at, most: f.max, warn: p.warn, serve: p.serve}
	notify := newNotifier(ctx, log)
	log.Info("listening", "at", at.String(), "address", l.Addr().String(), "remote", to.String())
	notify.ready("passing on %v to %v", at, to)
	in.run(ctx, l)
	log.Info("stopped")
	return nil
}

// read reads what the command line says.
func (f *proxyFlags) read(c *cobra.Command, args []string) (at local, to remote, log *slog.Logger, err error) {
	mode, err := strconv.ParseUint(f.mode, 8, 32)
	if err != nil || mode > 0o777 {
		return nil, nil, nil, fmt.Errorf("--mode %.20q: use octal digits from 0 to 0777, such as 0660", f.mode)
	}
	if f.max < 1 {
		return nil, nil, nil, fmt.Errorf("--max %d: use 1 or more", f.max)
	}
	if err := f.limit.check(); err != nil {
		return nil, nil, nil, err
	}
	var level slog.Level
	if level.UnmarshalText([]byte(*f.level)) != nil {
		return nil, nil, nil, fmt.Errorf("--log %.20q: use debug, info, warn or error", *f.level)
	}
	log = slog.New(slog.NewTextHandler(c.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
	e := ends{door: f.door(), mode: fs.FileMode(mode)}
	if at, err = e.local(args[0]); err != nil {
		return nil, nil, nil, fmt.Errorf("LOCAL: %w", err)
	}
	if to, err = e.remote(args[1]); err != nil {
		return nil, nil, nil, fmt.Errorf("REMOTE: %w", err)
	}
	return at, to, log, nil
}

// serve connects to the remote end for a connection, and joins the two.
func (p *proxy) serve(ctx context.Context, conn net.Conn) {
	far, err := p.dial(ctx)
	if err != nil {
		splice.Cut(conn)
		if ctx.Err() == nil {
			p.warn.warn("no connection", "remote", p.remote.String(), "error", explain(err))
		}
		return
	}
	if err := p.join(ctx, conn, far); err != nil {
		p.warn.log.Debug("connection lost", "remote", p.remote.String(), "error", err)
	}
}

// join carries between two connections until that has ended, or is too quiet.
func (p *proxy) join(ctx context.Context, near, far net.Conn) error {
	ctx, end := context.WithCancelCause(ctx)
	w := newQuietWatch(p.limit, end)
	var watching sync.WaitGroup
	watching.Go(func() { w.run(ctx) })
	defer watching.Wait()
	defer end(nil)
	pair := splice.Pair{Near: w.conn(near), Far: w.conn(far), Buffers: &p.buffers, Untaken: p.limit.untaken()}
	return pair.Run(ctx)
}

func (p *proxy) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, proxyDialTime)
	defer cancel()
	return p.remote.dial(ctx)
}
