package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"xvsock/services"
	"xvsock/vsock"
)

// doorFlag adds --door to a command that goes through the daemon's unix socket, and
// returns what gives that. Unless it is told, it is the one beside the control socket.
func (a *app) doorFlag(c *cobra.Command) func() vsock.Door {
	path := c.Flags().String("door", vsock.DoorPath, "unix socket of this domain's daemon for connections")
	return func() vsock.Door {
		if c.Flags().Changed("door") {
			return vsock.Door{Path: *path}
		}
		return vsock.Door{Path: a.door()}
	}
}

// connectFlags are those of `xvsock connect`.
type connectFlags struct {
	door          func() vsock.Door
	test, verbose bool
	wait          int // seconds
}

// connectCommand is `xvsock connect`.
func (a *app) connectCommand() *cobra.Command {
	var f connectFlags
	c := &cobra.Command{
		Use: "connect NAME:PORT", Short: "Join standard input and output to a connection", Args: cobra.ExactArgs(1),
		Long: "connect connects to PORT, a number or the name of a service, of the domain NAME: a name,\n" +
			"an id, a uuid, a CID such as 0x7FF1, self or @backend. What it reads is sent, what it\n" +
			"receives is written, both unchanged.\n\n" +
			"The end of standard input ends the sending side only; connect goes on until the other end\n" +
			"has ended its side too, which closes standard output, and then exits with 0. It does not\n" +
			"wait for more input once the other end has closed the connection.\n\n" +
			"A connection that is lost (the other domain destroyed, its link gone, the right revoked)\n" +
			"reads here as one that has ended: a unix socket, through which this is done, has no other\n" +
			"way to say it. Where it matters whether all has arrived, the bytes themselves must tell.\n\n" +
			"Exit status: 0; 1 an error, or what was read could not all be sent; 125 no daemon, or no\n" +
			"right to use it; 126 denied by policy, or a name that two domains have.",
		Example: "  echo hello | xvsock connect db1:echo\n" +
			"  xvsock connect -z -w 2 db1:5432 && echo there\n" +
			"  ssh -o ProxyCommand='xvsock connect %h:22' db1\n" +
			"  tar c . | xvsock connect 0x7FF1:9000",
	}
	f.door = a.doorFlag(c)
	c.Flags().BoolVarP(&f.test, "test", "z", false, "only test whether a connection can be made; the exit status tells")
	c.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "say on standard error when the connection is made")
	c.Flags().IntVarP(&f.wait, "wait", "w", 0, "`seconds` after which connecting is given up, and a connection that\nhas carried nothing either way is ended with exit status 1 (0: never)")
	c.RunE = func(c *cobra.Command, args []string) error { return f.run(c, args[0]) }
	return c
}

func (f *connectFlags) run(c *cobra.Command, address string) error {
	to, err := parseTarget(address)
	switch {
	case err != nil:
		return &setupError{err}
	case f.wait < 0 || f.wait > maxWait:
		return &setupError{fmt.Errorf("-w %d: use a number of seconds from 0, for ever, to %d", f.wait, maxWait)}
	}
	wait := time.Duration(f.wait) * time.Second
	conn, err := connectWithin(c.Context(), doorDial{f.door(), to}, wait)
	if err != nil {
		return err
	}
	defer conn.Close()
	if f.verbose {
		fmt.Fprintln(c.ErrOrStderr(), printable("connected to "+to.String()))
	}
	if f.test {
		return nil
	}
	t := talk{conn: conn, in: c.InOrStdin(), out: c.OutOrStdout(), idle: wait}
	return t.run(c.Context())
}

// maxWait is the longest -w: a year.
const maxWait = 365 * 24 * 3600

// connectWithin connects within a time; 0: for ever.
func connectWithin(ctx context.Context, to doorDial, wait time.Duration) (net.Conn, error) {
	within := ctx
	if wait > 0 {
		var cancel context.CancelFunc
		within, cancel = context.WithTimeout(ctx, wait)
		defer cancel()
	}
	c, err := to.dial(within)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx) // a signal, which is no fault of the address
	}
	return c, err
}

// connectError says why there is no connection, for people and for exitCode.
func connectError(to target, err error) error {
	if err := doorError(err); err != nil {
		return err
	}
	what := "connect to " + to.String()
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOTUNIQ): // EACCES and EPERM
		return &deniedError{what + ": " + told(err)}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return fmt.Errorf("%s: nobody answers in time", what)
	}
	return fmt.Errorf("%s: %s", what, told(err))
}

// listenError says why a port is not listened on. Nothing was tried then.
func listenError(port uint32, err error) error {
	if err := doorError(err); err != nil {
		return err
	}
	why := told(err)
	switch {
	case errors.Is(err, syscall.EACCES) && services.PortManager < port && port < services.PortPrivileged:
		why = fmt.Sprintf("only root may listen on a port below %d: use another, or run as root", services.PortPrivileged)
	case errors.Is(err, syscall.EADDRINUSE):
		why = "another program, or a service, has it"
	}
	return &setupError{fmt.Errorf("listen on port %d: %s", port, why)}
}

// doorError is err as one of the way to the daemon, nil if it is none. What the daemon
// itself denies is none.
func doorError(err error) error {
	if errors.Is(err, vsock.ErrNoDaemon) || errors.Is(err, vsock.ErrNotAllowed) {
		return &setupError{errors.New(told(err))}
	}
	return nil
}

// told is what a network error says beside the operation and the addresses, which are
// said already.
func told(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err.Error()
	}
	return err.Error()
}
