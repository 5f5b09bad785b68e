// Package launch is what the binary does when it is started: it picks the face
// that it was called by, and joins the real platform to it.
//
// A custom build of the binary is a program of a few lines that calls Main with
// services of its own:
//
//	func main() {
//		launch.Main(launch.Options{Version: "1.0", Services: []launch.Service{{
//			Info: services.Info{Name: "clock", Port: 1000},
//			New: func(identify services.Identify, log *slog.Logger) services.Service {
//				return newClock(identify, log)
//			},
//		}}})
//	}
//
// They are configured like those that are built in: xvsock.service=clock, or
// clock:2000 on another port. examples/custom is such a program.
package launch

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"xvsock/cli"
	"xvsock/daemon"
	"xvsock/evtchn"
	"xvsock/services/payload"
)

// Options are what a build of the binary is made of.
type Options struct {
	// Version is what `xvsock version` and status say.
	Version string
	// Services are services of this build, beside those that every build has.
	Services []Service
}

// exitNotRun is the exit status of a program that could not be run, as a shell has it.
const exitNotRun = 127

// Service is a service that a build has in it; see daemon.Offer.
type Service = daemon.Offer

// Main is the whole life of the process. As PID 1 it is a service domain, called
// poweroff or reboot (as the kernel does when the toolstack asks for it) it ends
// that domain, by the names of a keeper or a trampoline it is one, otherwise it is
// the command line. It does not return.
func Main(o Options) {
	start := time.Now()
	if os.Getpid() == 1 {
		serviceDomain(o, start)
	}
	switch face := filepath.Base(os.Args[0]); face {
	case "poweroff", "reboot":
		os.Exit(cli.Shutdown(face == "reboot", os.Stderr))
	case payload.TrampolineName:
		fmt.Fprintln(os.Stderr, payload.Trampoline(os.Args, os.Environ()))
		os.Exit(exitNotRun)
	case evtchn.KeeperName:
		evtchn.RunKeeper()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks for an orderly end; the next one is not caught.
	context.AfterFunc(ctx, stop)
	platform := realPlatform()
	platform.Services = o.Services
	os.Exit(cli.Run(ctx, platform, o.Version, os.Args[1:], os.Stdout, os.Stderr))
}
