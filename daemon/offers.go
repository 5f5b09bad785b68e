package daemon

import (
	"log/slog"

	"xvsock/bench"
	"xvsock/config"
	"xvsock/services"
	"xvsock/services/echo"
	"xvsock/services/payload"
)

// Offer is a service that the domain runs. New makes it; identify tells who is at
// the other end of a connection.
type Offer struct {
	Info services.Info
	New  func(identify services.Identify, log *slog.Logger) services.Service
	// Late says that the service may come later than the daemon is ready, or not at
	// all: what it needs is not part of the binary.
	Late bool
}

// Builtin returns the services that the binary has in it, beside discovery, which
// every daemon runs.
func Builtin() []Offer {
	return []Offer{{
		Info: services.Info{Name: services.WellKnown(services.PortEcho), Port: services.PortEcho},
		New: func(identify services.Identify, log *slog.Logger) services.Service {
			return echo.NewServer(echo.Config{Identify: identify, Log: log})
		},
	}, {
		Info: services.Info{Name: services.WellKnown(services.PortBench), Port: services.PortBench},
		New: func(identify services.Identify, log *slog.Logger) services.Service {
			return bench.NewServer(bench.Config{Identify: identify, Log: log})
		},
	}}
}

// Known is what the table of settings has to know of the services of a binary: those
// that every domain has, and those that it can be told to run.
func Known(offers []Offer) []config.Builtin {
	var all []config.Builtin
	for port := services.PortDiscovery; port <= services.PortLog; port++ {
		all = append(all, config.Builtin{Name: services.WellKnown(port), Port: port, Always: true, Fixed: true})
	}
	for _, o := range offers {
		_, fixed := services.PortOf(o.Info.Name)
		all = append(all, config.Builtin{Name: o.Info.Name, Port: o.Info.Port, Fixed: fixed})
	}
	return all
}

// Offers makes what a domain was told to run of the services that a binary has, and
// of programs, which run starts. What every domain has is not among them.
func Offers(told []config.Service, offers []Offer, run payload.Programs) []Offer {
	var all []Offer
	for _, s := range told {
		if s.Kind != config.BuiltIn {
			all = append(all, program(s, run))
			continue
		}
		for _, o := range offers {
			if o.Info.Name == s.Name {
				o.Info.Port = s.Port
				all = append(all, o)
			}
		}
	}
	return all
}

// program is the offer of a payload.
func program(s config.Service, run payload.Programs) Offer {
	return Offer{
		Info: services.Info{Name: s.Name, Port: s.Port}, Late: true,
		New: func(identify services.Identify, log *slog.Logger) services.Service {
			c := payload.Config{
				Name: s.Name, Port: s.Port, Identify: identify, Programs: run, Log: log,
				Max: s.Max, PerDomain: s.PerDomain, UID: uint32(s.UID), GID: uint32(s.GID),
			}
			switch s.Kind {
			case config.Exec:
				return payload.NewExec(c, s.Args)
			case config.ExecOnce:
				return payload.NewOnce(c, s.Args)
			}
			return payload.NewForward(c, s.Network, s.Address)
		},
	}
}
