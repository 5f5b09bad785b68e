package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"xvsock/bridge"
	"xvsock/services/control"
)

// shutdownTimeout bounds how long PID 1 may take to hear that it shall end.
const shutdownTimeout = 5 * time.Second

// Shutdown tells PID 1 of this domain to power off or to reboot, and then waits
// for the end, which takes this process with it. It returns an exit code only if
// PID 1 could not be told. The kernel calls /sbin/poweroff and /sbin/reboot, which
// are this program, when the toolstack asks for it (xl shutdown, xl reboot).
func Shutdown(reboot bool, stderr io.Writer) int {
	a := app{control: bridge.ControlPath}
	if code := a.shutdown(reboot, unix.Kill, stderr); code != 0 {
		return code
	}
	select {} // until PID 1 ends every process
}

// shutdown tells PID 1 to end, and returns an exit code. It is told by a signal before
// there is a control socket, early in the boot or when that has failed: the kernel does
// not ask a second time. Kill is kill(2); what the signals mean, pid1.Signals says.
func (a *app) shutdown(reboot bool, kill func(pid int, sig syscall.Signal) error, stderr io.Writer) int {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	err := a.call(ctx, control.MethodShutdown, map[string]bool{"reboot": reboot}, nil)
	if errors.Is(err, bridge.ErrNoDaemon) {
		signal := unix.SIGTERM
		if reboot {
			signal = unix.SIGINT
		}
		err = kill(1, signal)
	}
	if err != nil {
		fmt.Fprintln(stderr, "xvsock: tell PID 1 to end:", explain(err))
		return exitSetup
	}
	return 0
}

// shutdownCommand is `xvsock shutdown`.
func (a *app) shutdownCommand() *cobra.Command {
	var reboot bool
	c := &cobra.Command{
		Use: "shutdown DOMAIN", Short: "Have a service domain power off, or reboot", Args: cobra.ExactArgs(1),
		Long: "shutdown asks PID 1 of DOMAIN to end it in order, as `xl shutdown` and `xl reboot` do,\n" +
			"and does not wait for the end. A domain whose PID 1 is not xvsock refuses.",
		RunE: func(c *cobra.Command, args []string) error {
			return a.withControl(args[0], func(d *control.Client) error { return d.Shutdown(c.Context(), reboot) })
		},
	}
	c.Flags().BoolVar(&reboot, "reboot", false, "reboot it")
	return c
}
