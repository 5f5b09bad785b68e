package services

import (
	"errors"
	"fmt"
	"strconv"
)

// The well-known ports. Port 0 is reserved; 2 to 1023 are for services whose
// port is known beforehand.
const (
	PortManager   uint32 = 1  // connection manager, in the backend's domain
	PortDiscovery uint32 = 2  // who offers what
	PortHealth    uint32 = 3  // is it well
	PortControl   uint32 = 4  // orders of the toolstack
	PortMetrics   uint32 = 5  // counters as text
	PortLog       uint32 = 6  // log records
	PortEcho      uint32 = 7  // copies back what it is sent
	PortBench     uint32 = 8  // the other end of measurements
	PortSSH       uint32 = 22 // a shell, when the payload has one
)

// PortPrivileged is the first port that any program may use as its source
// port: the kernel gives the ones below to CAP_NET_BIND_SERVICE alone.
const PortPrivileged uint32 = 1024

// portAny is VMADDR_PORT_ANY: no port at all.
const portAny uint32 = 0xFFFFFFFF

// ErrPort says that a number or text is no port, or not the right one.
var ErrPort = errors.New("bad port")

// WellKnown returns the name of a well-known port, or "".
func WellKnown(port uint32) string {
	switch port {
	case PortManager:
		return "manager"
	case PortDiscovery:
		return "discovery"
	case PortHealth:
		return "health"
	case PortControl:
		return "control"
	case PortMetrics:
		return "metrics"
	case PortLog:
		return "log"
	case PortEcho:
		return "echo"
	case PortBench:
		return "bench"
	case PortSSH:
		return "ssh"
	}
	return ""
}

// PortOf returns the well-known port of a name.
func PortOf(name string) (port uint32, known bool) {
	if name == "" {
		return 0, false
	}
	for p := PortManager; p <= PortSSH; p++ {
		if WellKnown(p) == name {
			return p, true
		}
	}
	return 0, false
}

// ValidPort reports whether a service can be on the port.
func ValidPort(port uint32) bool { return port != 0 && port != portAny }

// ParsePort reads a port: a well-known name, or a decimal number without sign,
// blanks or leading zeros. The error wraps ErrPort.
func ParsePort(s string) (uint32, error) {
	if p, known := PortOf(s); known {
		return p, nil
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || strconv.FormatUint(n, 10) != s || !ValidPort(uint32(n)) {
		return 0, fmt.Errorf("%w: %.32q", ErrPort, s)
	}
	return uint32(n), nil
}

// FormatPort returns the well-known name of a port, or its number.
func FormatPort(port uint32) string {
	if name := WellKnown(port); name != "" {
		return name
	}
	return strconv.FormatUint(uint64(port), 10)
}
