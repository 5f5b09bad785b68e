package pid1

import (
	"context"
	"errors"
	"fmt"
)

// errNoShell says that the image holds no shell.
var errNoShell = errors.New("neither /bin/sh nor /bin/busybox is in the image")

// shell gives the console to a shell and returns when that has ended. What
// happens then is the same with and without one, and the console is told which.
//
// A shutdown that the toolstack asks for meanwhile ends the shell as it ends
// every process; the caller's own Shutdown then finds that one under way.
func (in *Init) shell() {
	ended, err := in.startShell()
	if err != nil {
		in.say("no shell: %v; the domain powers off", err)
		return
	}
	// The goroutine that waits for programs may be what the domain is dying of,
	// and the end of the shell must be seen.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { _ = caught(ctx, in.o.Reaper.Run) }()
	<-ended
	in.say("the shell has ended")
}

// startShell starts a shell on the console.
func (in *Init) startShell() (ended <-chan struct{}, err error) {
	argv, err := in.findShell()
	if err != nil {
		return nil, err
	}
	if in.o.Reaper == nil {
		return nil, errors.New("nobody waits for programs")
	}
	// Said before the shell's own first line. It is said of one that cannot be
	// started as well, and the next line takes it back.
	in.say("a shell on the console; the domain powers off when it ends")
	in.flush(context.Background())
	ended, err = in.o.Reaper.OnTerminal(in.path("/dev/console"), argv)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	return ended, nil
}

// findShell returns how to call the shell of the image.
func (in *Init) findShell() (argv []string, err error) {
	if sh := in.path("/bin/sh"); exists(sh) {
		return []string{sh}, nil
	}
	if busybox := in.path("/bin/busybox"); exists(busybox) {
		return []string{busybox, "sh"}, nil
	}
	return nil, errNoShell
}
