package config

import "log/slog"

// Mode is the part a domain plays.
type Mode int

const (
	// Frontend links to the backend that the toolstack named.
	Frontend Mode = iota
	// Backend serves the frontends attached to this domain.
	Backend
)

// String returns the word that the key mode takes.
func (m Mode) String() string {
	if m == Backend {
		return "backend"
	}
	return "frontend"
}

// Fatal is what a domain does when it cannot go on.
type Fatal int

const (
	// Halt powers the domain off.
	Halt Fatal = iota
	// Reboot starts it again.
	Reboot
	// Shell gives its console to a shell, if there is one in the image.
	Shell
)

// String returns the word that the key panic takes.
func (f Fatal) String() string {
	switch f {
	case Reboot:
		return "reboot"
	case Shell:
		return "shell"
	}
	return "halt"
}

// Config is what a domain was told, checked and with every default in place.
type Config struct {
	Mode      Mode           // mode
	Name      string         // name: a label for people, never an identity; may be empty
	Services  []Service      // what to run: those that every domain runs, then those of service
	Policy    string         // policy: PolicyInStore, or the path of a directory
	Budgets   map[string]int // budget: what a frontend of a backend may use, by name; those not given are missing
	Bridge    Toggle         // bridge: the kernel's AF_VSOCK sockets reach other domains
	Poll      Toggle         // poll: look for what other domains send before sleeping
	Deny      []PortRange    // bridge-deny: ports that programs may not connect to
	DoorMode  uint32         // door-mode: rights of the unix socket for programs
	DoorGroup string         // door-group: its group
	Modules   []string       // module: kernel modules to load beside the drivers for Xen
	Log       slog.Level     // log
	Panic     Fatal          // panic
	Strict    bool           // strict: with a Problem the domain is not to run

	keys   []Key             // of the table that made it
	origin map[string]string // by key: the source of the value
}

// Default is the origin of a value that no source gave.
const Default = "default"

// Origin returns where the value of a key came from: the name of a source, or
// Default.
func (c Config) Origin(key string) string {
	if source, ok := c.origin[key]; ok {
		return source
	}
	return Default
}

// Value is one key of a configuration, as people are shown it.
type Value struct {
	Key    string   // as in the table
	Value  []string // as a source would give it; empty: none; more than one only for a key that may repeat
	Origin string   // as Config.Origin says
}

// Values returns every key with what it came to, in the order of the table. A
// Config that no Resolve made has none.
func (c Config) Values() []Value {
	values := make([]Value, len(c.keys))
	for i, key := range c.keys {
		values[i] = Value{Key: key.Name, Value: key.get(c), Origin: c.Origin(key.Name)}
	}
	return values
}
