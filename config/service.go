package config

import (
	"fmt"
	"strings"
)

// Kind is what answers at the port of a service.
type Kind int

const (
	// BuiltIn is a service that the binary has in it.
	BuiltIn Kind = iota
	// Exec starts a program for each connection.
	Exec
	// ExecOnce starts one program that gets a listening socket.
	ExecOnce
	// ForwardTo joins each connection to one that it makes to a socket.
	ForwardTo
)

// String returns the word for k in the spec of a service; "" for BuiltIn.
func (k Kind) String() string {
	switch k {
	case Exec:
		return "exec"
	case ExecOnce:
		return "exec-once"
	case ForwardTo:
		return "forward"
	}
	return ""
}

// Service is one service that the domain runs.
type Service struct {
	Name string // as services.CheckName has it
	Port uint32 // the port it listens on
	Kind Kind

	Args             []string // of Exec and ExecOnce: the program by its absolute path, then its arguments
	Network, Address string   // of ForwardTo: "unix" and a path, or "tcp" and HOST:PORT
	Options                   // of all but BuiltIn
}

// Options bound a service that is not built in, and say who its program is.
type Options struct {
	Max       int // connections at once
	PerDomain int // of these, from one domain
	UID, GID  int // of Exec and ExecOnce: whom the program runs as
}

const (
	defaultMax       = 64
	defaultPerDomain = 16
	// mostConnections is the most that max and per-domain can be.
	mostConnections = 1024
)

// defaultOptions returns the options of a spec that gives none.
func defaultOptions() Options { return Options{Max: defaultMax, PerDomain: defaultPerDomain} }

// String returns s as the key service takes it: parsed again it gives the same.
func (s Service) String() string {
	spec := fmt.Sprintf("%s:%d", s.Name, s.Port)
	if s.Kind == BuiltIn {
		return spec
	}
	spec += ":" + s.Kind.String() + s.options() + ":"
	if s.Kind == ForwardTo {
		return spec + s.Network + ":" + s.Address
	}
	return spec + joinArgs(s.Args)
}

// options spells what differs from the defaults, each with a comma before it.
func (s Service) options() string {
	var b strings.Builder
	for _, o := range []struct {
		name       string
		value, def int
	}{
		{optionMax, s.Max, defaultMax},
		{optionPerDomain, s.PerDomain, min(s.Max, defaultPerDomain)},
		{optionUID, s.UID, 0},
		{optionGID, s.GID, 0},
	} {
		if o.value != o.def {
			fmt.Fprintf(&b, ",%s=%d", o.name, o.value)
		}
	}
	return b.String()
}

// Builtin is a service that the binary has in it.
type Builtin struct {
	Name   string // as services.CheckName has it
	Port   uint32 // its well-known port
	Always bool   // every domain runs it, on that port
	Fixed  bool   // it runs on no other port: elsewhere its name stands for the port
}

// always lists what every domain runs.
func always(builtin []Builtin) []Service {
	var list []Service
	for _, b := range builtin {
		if b.Always {
			list = append(list, Service{Name: b.Name, Port: b.Port})
		}
	}
	return list
}
