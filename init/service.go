package pid1

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Service is one service that the domain runs.
type Service struct {
	Name string // as its Builtin has it
	Port uint32 // the port it listens on
}

// String returns s as xvsock.service takes it.
func (s Service) String() string { return fmt.Sprintf("%s:%d", s.Name, s.Port) }

// Builtin is a service that the binary has in it.
type Builtin struct {
	Name   string // RFC 6335: 1-15 of a-z 0-9 -
	Port   uint32 // its well-known port
	Always bool   // every domain runs it, on that port
	Fixed  bool   // it runs on no other port: elsewhere its name stands for the port
}

const (
	// managerPort is the connection manager's in every backend, and 0 is none.
	managerPort = 1
	// firstEphemeralPort and all above are given to outgoing connections.
	firstEphemeralPort = 0xC0000000
	// maxServices bounds what one domain runs.
	maxServices = 64
)

func always(builtin []Builtin) []Service {
	var list []Service
	for _, b := range builtin {
		if b.Always {
			list = append(list, Service{b.Name, b.Port})
		}
	}
	return list
}

// serviceKey makes the row of xvsock.service.
func serviceKey(builtin []Builtin) Key {
	names := make([]string, len(builtin))
	for i, b := range builtin {
		names[i] = b.Name
	}
	return Key{
		Name:   "xvsock.service",
		Form:   "NAME[:PORT]",
		Help:   "A service to run: " + strings.Join(names, ", ") + ". Without a port, on its well-known one.",
		Repeat: true,
		set: func(c *Config, value string) (string, error) {
			service, fix, err := parseService(builtin, names, value)
			if err != nil {
				return fix, err
			}
			return addService(c, service)
		},
	}
}

// parseService reads NAME or NAME:PORT.
func parseService(builtin []Builtin, names []string, value string) (s Service, fix string, err error) {
	name, port, hasPort := strings.Cut(value, ":")
	i := slices.Index(names, name)
	if i < 0 {
		fix := "built in are " + strings.Join(names, ", ")
		if best := nearest(strings.ToLower(name), names); best != "" {
			fix = "did you mean " + best + "?"
		}
		return Service{}, fix, fmt.Errorf("no service %s is built in", shown(name))
	}
	s = Service{name, builtin[i].Port}
	if !hasPort {
		return s, "", nil
	}
	fix = fmt.Sprintf("its well-known port is %d", builtin[i].Port)
	if s.Port, err = parsePort(port); err != nil {
		return Service{}, fix, err
	}
	if builtin[i].Fixed && s.Port != builtin[i].Port {
		return Service{}, fix, fmt.Errorf("%s cannot be on port %d", name, s.Port)
	}
	return s, "", nil
}

// parsePort reads a port that a service may listen on: decimal digits only.
func parsePort(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, fmt.Errorf("port %s is out of range", shown(text))
	case err != nil || strconv.FormatUint(n, 10) != text:
		return 0, fmt.Errorf("port %s is not a number", shown(text))
	case n <= managerPort:
		return 0, fmt.Errorf("port %d is reserved", n)
	case n >= firstEphemeralPort:
		return 0, fmt.Errorf("port %d is kept for outgoing connections, as all from %d up", n, uint32(firstEphemeralPort))
	}
	return uint32(n), nil
}

// addService puts s into the list. What is there already is no mistake to name
// again; another service on the same port is.
func addService(c *Config, s Service) (fix string, err error) {
	for _, other := range c.Services {
		if other == s {
			return "", nil
		}
		if other.Port == s.Port {
			return "give it another port", fmt.Errorf("port %d is taken by %s", s.Port, other.Name)
		}
	}
	if len(c.Services) >= maxServices {
		return "", fmt.Errorf("more than %d services", maxServices)
	}
	c.Services = append(c.Services, s)
	return "", nil
}
