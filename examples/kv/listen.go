package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// firstFD is the first descriptor that sd_listen_fds(3) passes.
const firstFD = 3

// listen makes the listener: at an address, or, without one, of the descriptor that
// the environment tells of.
func listen(address string, getenv func(string) string) (net.Listener, error) {
	if address == "" {
		return inherited(getenv)
	}
	network, where, _ := strings.Cut(address, ":")
	switch {
	case network == "tcp" && where != "":
		return net.Listen("tcp", where)
	case network == "unix" && where != "":
		if err := removeStale(where); err != nil {
			return nil, err
		}
		return net.Listen("unix", where)
	}
	return nil, fmt.Errorf("-listen %q: want unix:/path or tcp:HOST:PORT", address)
}

// inherited takes the one listener that was passed to this process.
func inherited(getenv func(string) string) (net.Listener, error) {
	if getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) || getenv("LISTEN_FDS") != "1" {
		return nil, errors.New("no socket was passed (LISTEN_FDS, LISTEN_PID), and -listen is not given")
	}
	f := os.NewFile(firstFD, "listener")
	defer f.Close() // FileListener has a copy
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("descriptor %d: %w", firstFD, err)
	}
	return l, nil
}

// removeStale takes away a socket that a process which was killed has left.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is there, and is no socket", path)
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
		return fmt.Errorf("%s: %w", path, syscall.EADDRINUSE)
	}
	return os.Remove(path)
}
