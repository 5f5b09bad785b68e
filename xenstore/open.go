package xenstore

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// Open connects to xenstored: by the socket of one that runs in this domain,
// which is dom0 or a xenstore domain, else through the kernel. The error joins
// what every way gave. It wraps fs.ErrNotExist on a machine without Xen, and
// early in the boot of a domain whose kernel has not yet reached xenstored.
func Open() (*Client, error) {
	ways := []struct {
		open func(path string) (*Client, error)
		path string
	}{
		{OpenSocket, "/run/xenstored/socket"},
		{OpenSocket, "/var/run/xenstored/socket"},
		{OpenDevice, "/dev/xen/xenbus"},
		{OpenDevice, "/proc/xen/xenbus"},
	}
	var errs []error
	for _, way := range ways {
		c, err := way.open(way.path)
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// OpenSocket connects to the unix socket of a xenstored in this domain.
func OpenSocket(path string) (*Client, error) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return nil, fmt.Errorf("open xenstore: %w", err)
	}
	return New(conn, Config{}), nil
}

// OpenDevice connects through the kernel, by /dev/xen/xenbus or
// /proc/xen/xenbus.
//
// The file is left to the runtime's poller, which package os asks for of itself:
// the driver answers poll with POLLIN and a read of a non-blocking file with
// EAGAIN, so that the reader costs no thread and Close wakes it. A plain blocking
// read could not be ended before xenstored next sends something. Writes are never
// EAGAIN. Latency, for which package evtchn blocks instead, does not matter here.
func OpenDevice(path string) (*Client, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open xenstore: %w", err)
	}
	return New(file, Config{Device: true}), nil
}
