package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os/exec"
	"path/filepath"

	"github.com/spf13/cobra"

	"xvsock/vsock"
)

// defaultPrograms is --max of `xvsock listen --fork`.
const defaultPrograms = 64

// listenFlags are those of `xvsock listen`.
type listenFlags struct {
	door          func() vsock.Door
	fork, verbose bool
	max           int
}

// listenCommand is `xvsock listen`.
func (a *app) listenCommand() *cobra.Command {
	var f listenFlags
	c := &cobra.Command{
		Use: "listen PORT [flags] [-- CMD ARG...]", DisableFlagsInUseLine: true,
		Short: "Take a connection, for standard input and output or for a program", Args: listenArgs,
		Long: "listen takes one connection to PORT of this domain, and joins it to standard input and\n" +
			"output as `xvsock connect` does. With CMD it starts that program in its place, which has\n" +
			"the connection as its standard input and output, and exits with 0 if that did. With --fork\n" +
			"it starts one for each connection, several at a time, until it is ended by SIGTERM: then\n" +
			"the programs get SIGTERM too, and SIGKILL 2 s later. When the daemon restarts, --fork\n" +
			"listens again; open connections end.\n\n" +
			"PORT 0 is any that is free, which is then told on standard error. A port below 1024 is\n" +
			"for root. The program finds the other end's address in XVSOCK_PEER_CID and\n" +
			"XVSOCK_PEER_PORT, and the port that it was called at in XVSOCK_PORT.\n\n" +
			"Exit status: 0; 1 an error, or CMD failed; 125 it could not listen.",
		Example: "  xvsock listen 9000 > backup.tar\n" +
			"  xvsock listen 7000 -- /usr/bin/wc -c\n" +
			"  xvsock listen 7000 --fork --max 8 -- sh -c 'echo you are $XVSOCK_PEER_CID; cat'",
	}
	f.door = a.doorFlag(c)
	c.Flags().BoolVarP(&f.fork, "fork", "k", false, "start CMD for each connection, for ever")
	c.Flags().IntVar(&f.max, "max", defaultPrograms, "how many programs --fork runs at once; further connections wait")
	c.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "say on standard error what is listened on, and who connects")
	c.RunE = func(c *cobra.Command, args []string) error { return f.run(c, args) }
	return c
}

// listenArgs checks the arguments of listen.
func listenArgs(c *cobra.Command, args []string) error {
	switch dash := c.ArgsLenAtDash(); {
	case len(args) == 0 || dash == 0:
		return errors.New("no port given: use `xvsock listen PORT`, or `xvsock listen PORT -- CMD`")
	case dash == -1 && len(args) > 1:
		return fmt.Errorf("put -- before the program: `xvsock listen PORT -- %.40s`", printable(args[1]))
	case dash > 1:
		return fmt.Errorf("one port, and not %.40q: use `xvsock listen PORT -- CMD`", args[1])
	case dash == 1 && len(args) == 1:
		return errors.New("no program after --")
	}
	return nil
}

// check checks the flags for a command line with or without a program.
func (f *listenFlags) check(c *cobra.Command, program bool) error {
	switch {
	case f.fork && !program:
		return errors.New("--fork is for a program: `xvsock listen PORT --fork -- CMD`")
	case !f.fork && c.Flags().Changed("max"):
		return errors.New("--max goes with --fork")
	case f.max < 1:
		return fmt.Errorf("--max %d: use 1 or more", f.max)
	}
	return nil
}

func (f *listenFlags) run(c *cobra.Command, args []string) error {
	port, err := parseListenPort(args[0])
	if err == nil {
		err = f.check(c, len(args) > 1)
	}
	if err != nil {
		return &setupError{err}
	}
	var p *program
	if len(args) > 1 {
		if p, err = findProgram(args[1:], c.ErrOrStderr()); err != nil {
			return &setupError{err}
		}
	}
	at := &doorListen{door: f.door(), port: port}
	l, err := at.listen(c.Context())
	if err != nil {
		return err
	}
	if port == 0 || f.verbose {
		fmt.Fprintln(c.ErrOrStderr(), "listening on port", at.port)
	}
	if f.fork {
		log := slog.New(slog.NewTextHandler(c.ErrOrStderr(), nil))
		p.serve(c.Context(), at, l, f.max, log)
		return nil
	}
	conn, err := acceptOne(c.Context(), l)
	if err != nil {
		return fmt.Errorf("listen on %v: %w", at, err)
	}
	defer conn.Close()
	if f.verbose {
		fmt.Fprintln(c.ErrOrStderr(), "connection from", printable(conn.RemoteAddr().String()))
	}
	if p == nil {
		t := talk{conn: conn, in: c.InOrStdin(), out: c.OutOrStdout()}
		return t.run(c.Context())
	}
	return p.run(c.Context(), conn, at.port)
}

// acceptOne takes one connection and closes the listener.
func acceptOne(ctx context.Context, l net.Listener) (net.Conn, error) {
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	conn, err := l.Accept()
	if ctx.Err() == nil {
		return conn, err
	}
	if err == nil {
		conn.Close()
	}
	return nil, context.Cause(ctx)
}

// findProgram looks for the program of args.
func findProgram(args []string, stderr io.Writer) (*program, error) {
	path, err := exec.LookPath(args[0])
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		for inner := err; inner != nil; inner = errors.Unwrap(inner) {
			err = inner // the program is named already
		}
		return nil, fmt.Errorf("program %.80q: %w: name one in PATH, or its path", args[0], err)
	}
	return &program{path: path, args: args, stderr: stderr}, nil
}
