package config

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
)

const (
	// maxUnixPath is the longest path of a unix socket: 108 bytes in sockaddr_un
	// with the NUL (unix(7)).
	maxUnixPath = 107
	maxTCPPort  = 65535
)

// setTarget reads what follows the kind: the program or the address.
func (s *Service) setTarget(text string) (fix string, err error) {
	if s.Kind == ForwardTo {
		return s.setAddress(text)
	}
	return s.setArgs(text)
}

// setArgs reads a program and its arguments.
func (s *Service) setArgs(command string) (fix string, err error) {
	args, err := splitArgs(command)
	switch {
	case err != nil:
		return "quotes come in pairs, and nothing takes away their meaning", err
	case len(args) == 0 || args[0] == "":
		return fmt.Sprintf("write %s:%d:%v:/path", s.Name, s.Port, s.Kind), errors.New("no program is given")
	case !filepath.IsAbs(args[0]):
		return "begin its path with /", fmt.Errorf("program %s is no absolute path", shown(args[0]))
	case strings.HasSuffix(args[0], "/"):
		return "name the program in it", fmt.Errorf("program %s is a directory", shown(args[0]))
	}
	s.Args = args
	return "", nil
}

// setAddress reads unix:/path or tcp:HOST:PORT.
func (s *Service) setAddress(text string) (fix string, err error) {
	network, address, _ := strings.Cut(text, ":")
	switch network {
	case "unix":
		fix, err = checkUnix(address)
	case "tcp":
		fix, err = checkTCP(address)
	case "":
		fix, err = "write unix:/path or tcp:HOST:PORT", errors.New("no address is given to forward to")
	default:
		fix, err = "write unix:/path or tcp:HOST:PORT", fmt.Errorf("unknown network %s", shown(network))
	}
	if err != nil {
		return fix, err
	}
	s.Network, s.Address = network, address
	return "", nil
}

func checkUnix(path string) (fix string, err error) {
	switch {
	case path == "":
		return "write unix:/path", errors.New("no path of a socket is given")
	case !filepath.IsAbs(path):
		return "begin it with /", fmt.Errorf("socket %s is no absolute path", shown(path))
	case len(path) > maxUnixPath:
		return "use a shorter one", fmt.Errorf("the path of the socket has %d bytes, %d are allowed", len(path), maxUnixPath)
	}
	return "", nil
}

func checkTCP(address string) (fix string, err error) {
	const form = "write tcp:HOST:PORT"
	host, port, err := net.SplitHostPort(address)
	switch {
	case address == "":
		return form, errors.New("no address is given to forward to")
	case err != nil:
		reason := err.Error()
		if addr, ok := errors.AsType[*net.AddrError](err); ok {
			reason = addr.Err
		}
		return form, fmt.Errorf("address %s: %s", shown(address), reason)
	case !isHost(host):
		return form, fmt.Errorf("host %s is neither a name nor an IP address", shown(host))
	}
	n, err := parseNumber("tcp port", port)
	if err == nil && (n < 1 || n > maxTCPPort) {
		err = fmt.Errorf("tcp port %d is out of range", n)
	}
	return fmt.Sprintf("it is a number from 1 to %d", maxTCPPort), err
}

// isHost reports whether s looks like a name or an address; a zone of IPv6 may
// follow it.
func isHost(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:%") == ""
}
