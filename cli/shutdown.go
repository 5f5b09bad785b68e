package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"xvsock/bridge"
	"xvsock/daemon"
)

// shutdownTimeout bounds how long PID 1 may take to hear that it shall end.
const shutdownTimeout = 5 * time.Second

// Shutdown tells PID 1 of this domain to power off or to reboot, and then waits
// for the end, which takes this process with it. It returns an exit code only if
// PID 1 could not be told. The kernel calls /sbin/poweroff and /sbin/reboot, which
// are this program, when the toolstack asks for it (xl shutdown, xl reboot).
func Shutdown(reboot bool, stderr io.Writer) int {
	a := app{control: bridge.ControlPath}
	if code := a.shutdown(reboot, stderr); code != 0 {
		return code
	}
	select {} // until PID 1 ends every process
}

// shutdown tells PID 1 to end, and returns an exit code.
func (a *app) shutdown(reboot bool, stderr io.Writer) int {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if err := a.call(ctx, daemon.MethodShutdown, daemon.ShutdownArgs{Reboot: reboot}, nil); err != nil {
		fmt.Fprintln(stderr, "xvsock: tell PID 1 to end:", explain(err))
		return exitSetup
	}
	return 0
}
