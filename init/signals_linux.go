package pid1

import (
	"context"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// endings are the signals that end the domain, and how.
func endings() map[os.Signal]How {
	return map[os.Signal]How{
		unix.SIGTERM: PowerOff,
		unix.SIGPWR:  PowerOff, // power is failing
		unix.SIGUSR2: PowerOff, // busybox's poweroff
		unix.SIGINT:  Reboot,   // the kernel's, for ctrl-alt-del
	}
}

// others are the signals whose default in a Go program is to end it. They are
// caught and dropped, not ignored: what is ignored stays ignored in every
// program that PID 1 starts.
func others() []os.Signal {
	return []os.Signal{unix.SIGHUP, unix.SIGQUIT, unix.SIGPIPE, unix.SIGUSR1, unix.SIGALRM}
}

// Signals calls end for each signal that asks for the end of the domain, until
// ctx ends. While it runs, no signal from outside ends the process; so it is
// started before the boot and lasts as long as PID 1 does.
func Signals(ctx context.Context, end func(How)) {
	table := endings()
	got := make(chan os.Signal, 8)
	list := others()
	for sig := range table {
		list = append(list, sig)
	}
	signal.Notify(got, list...)
	defer signal.Stop(got)
	for {
		select {
		case sig := <-got:
			if how, ok := table[sig]; ok {
				end(how)
			}
		case <-ctx.Done():
			return
		}
	}
}
