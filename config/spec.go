package config

import (
	"fmt"
	"slices"
	"strings"

	"xvsock/services"
)

const (
	// firstEphemeralPort and all above are given to outgoing connections.
	firstEphemeralPort = 0xC0000000
	// maxServices bounds what one domain runs.
	maxServices = 64
)

// serviceKey makes the row of service.
func serviceKey(builtin []Builtin) Key {
	p := specParser{builtin: builtin}
	return Key{
		Name: "service", Form: "SPEC", Repeat: true,
		Help:    "A service to run: one that is built in, a program, or a socket in the domain; see the specs below.",
		Example: []string{"echo", "kv:7000:exec-once:/bin/kv -dir /data"},
		set: func(c *Config, value string) (string, error) {
			service, fix, err := p.parse(value)
			if err != nil {
				return fix, err
			}
			return p.add(c, service)
		},
		get: func(c Config) (list []string) {
			for _, s := range c.Services {
				list = append(list, s.String())
			}
			return list
		},
	}
}

// specParser reads the specs of services:
//
//	NAME                                     built in, on its well-known port
//	NAME:PORT                                built in
//	NAME:PORT:exec[,OPTIONS]:/path args      a program for each connection
//	NAME:PORT:exec-once[,OPTIONS]:/path args one program
//	NAME:PORT:forward[,OPTIONS]:unix:/path   a socket in the domain
//	NAME:PORT:forward[,OPTIONS]:tcp:HOST:PORT
type specParser struct{ builtin []Builtin }

// parse reads one spec. The error says what is wrong and fix what would be right.
func (p specParser) parse(value string) (s Service, fix string, err error) {
	name, rest, hasPort := strings.Cut(value, ":")
	port, rest, hasKind := strings.Cut(rest, ":")
	if !hasKind {
		return p.parseBuiltin(name, port, hasPort)
	}
	if err := services.CheckName(name); err != nil {
		return Service{}, "use 1 to 15 of a-z, 0-9 and -", err
	}
	if p.isKept(name) {
		return Service{}, "give this one another name", fmt.Errorf("%s is the name of a service that is built in", name)
	}
	s = Service{Name: name, Options: defaultOptions()}
	fix = "use one from 1024 up"
	if s.Port, err = parsePort(port); err != nil {
		return Service{}, fix, err
	}
	if owner := p.owner(s.Port); owner != "" {
		return Service{}, fix, fmt.Errorf("port %d is kept for %s", s.Port, owner)
	}
	kind, target, _ := strings.Cut(rest, ":")
	kind, options, hasOptions := strings.Cut(kind, ",")
	if fix, err = s.setKind(kind); err != nil {
		return Service{}, fix, err
	}
	if hasOptions {
		if fix, err = s.setOptions(options); err != nil {
			return Service{}, fix, err
		}
	}
	if fix, err = s.setTarget(target); err != nil {
		return Service{}, fix, err
	}
	return s, "", nil
}

// parseBuiltin reads NAME or NAME:PORT.
func (p specParser) parseBuiltin(name, port string, hasPort bool) (s Service, fix string, err error) {
	names := make([]string, len(p.builtin))
	for i, b := range p.builtin {
		names[i] = b.Name
	}
	i := slices.Index(names, name)
	if i < 0 {
		fix := "built in are " + strings.Join(names, ", ") + "; a program is NAME:PORT:exec:/path"
		if best := Nearest(strings.ToLower(name), names); best != "" {
			fix = "did you mean " + best + "?"
		}
		return Service{}, fix, fmt.Errorf("no service %s is built in", shown(name))
	}
	b := p.builtin[i]
	s = Service{Name: name, Port: b.Port}
	if !hasPort {
		return s, "", nil
	}
	fix = fmt.Sprintf("its well-known port is %d", b.Port)
	if s.Port, err = parsePort(port); err != nil {
		return Service{}, fix, err
	}
	if b.Fixed && s.Port != b.Port {
		return Service{}, fix, fmt.Errorf("%s cannot be on port %d", name, s.Port)
	}
	if owner := p.owner(s.Port); owner != "" && owner != name {
		return Service{}, fix, fmt.Errorf("port %d is kept for %s", s.Port, owner)
	}
	return s, "", nil
}

// setKind sets the kind by its word.
func (s *Service) setKind(word string) (fix string, err error) {
	var words []string
	for _, k := range []Kind{Exec, ExecOnce, ForwardTo} {
		if words = append(words, k.String()); k.String() == word {
			s.Kind = k
			return "", nil
		}
	}
	fix = "kinds are " + strings.Join(words, ", ")
	if best := Nearest(strings.ToLower(word), words); best != "" {
		fix = "did you mean " + best + "?"
	}
	return fix, fmt.Errorf("unknown kind %s", shown(word))
}

// isKept reports whether a name is of a service that is built in, or of one that
// has its port in every build.
func (p specParser) isKept(name string) bool {
	port, known := services.PortOf(name)
	return known && port <= services.PortBench || slices.ContainsFunc(p.builtin, func(b Builtin) bool { return b.Name == name })
}

// owner returns the built-in service whose well-known port it is, or "".
func (p specParser) owner(port uint32) string {
	if i := slices.IndexFunc(p.builtin, func(b Builtin) bool { return b.Port == port }); i >= 0 {
		return p.builtin[i].Name
	}
	if port <= services.PortBench {
		return services.WellKnown(port)
	}
	return ""
}

// parsePort reads a port that a service may listen on: decimal digits only.
func parsePort(text string) (uint32, error) {
	n, err := parseNumber("port", text)
	switch {
	case err != nil:
		return 0, err
	case n <= int(services.PortManager):
		return 0, fmt.Errorf("port %d is reserved", n)
	case n >= firstEphemeralPort:
		return 0, fmt.Errorf("port %d is kept for outgoing connections, as all from %d up", n, uint32(firstEphemeralPort))
	}
	return uint32(n), nil
}

// add puts s into the list. To name again what is built in is no mistake; another
// service of that name, or on that port, is.
func (p specParser) add(c *Config, s Service) (fix string, err error) {
	for _, other := range c.Services {
		switch {
		case s.Kind == BuiltIn && other.Kind == BuiltIn && s.Name == other.Name && s.Port == other.Port:
			return "", nil
		case other.Name == s.Name:
			return "give this one another name", fmt.Errorf("%s is there already, on port %d", s.Name, other.Port)
		case other.Port == s.Port:
			return "give it another port", fmt.Errorf("port %d is taken by %s", s.Port, other.Name)
		}
	}
	if len(c.Services) >= maxServices {
		return "", fmt.Errorf("more than %d services", maxServices)
	}
	c.Services = append(c.Services, s)
	return "", nil
}
