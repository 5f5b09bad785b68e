package pid1

import (
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// OnTerminal starts a program with the terminal at path as its controlling one,
// in a session of its own: the terminal's keys, such as ctrl-C, reach it and
// nobody else. See Programs.
func (r *Reaper) OnTerminal(path string, argv []string) (<-chan struct{}, error) {
	// It is to be the program's controlling terminal and not our own.
	terminal, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer terminal.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.Dir = "/"
	// Ctty counts in the child. /dev/console is no terminal that an open makes a
	// controlling one (tty_open in drivers/tty/tty_io.c), but TIOCSCTTY, which
	// Setctty is, takes it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	p, err := r.Start(cmd)
	if err != nil {
		return nil, err
	}
	return p.Done(), nil
}
