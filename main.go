// Command xvsock is virtual sockets between Xen domains in one static binary: as
// PID 1 it is a service domain, called poweroff or reboot (as the kernel does when
// the toolstack asks for it) it ends that domain, otherwise it is the command
// line.
package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"xvsock/cli"
)

// version is set by the build.
var version = "unreleased"

func main() {
	start := time.Now()
	if os.Getpid() == 1 {
		serviceDomain(start)
		return
	}
	if face := filepath.Base(os.Args[0]); face == "poweroff" || face == "reboot" {
		os.Exit(cli.Shutdown(face == "reboot", os.Stderr))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(cli.Run(ctx, realPlatform(), version, os.Args[1:], os.Stdout, os.Stderr))
}
