package control

import (
	"encoding/json"
	"time"

	"xvsock/services"
)

// Value is a key of the configuration.
type Value struct {
	Key    string   `json:"key"`
	Values []string `json:"values"` // none: the key has no value
	Origin string   `json:"origin"` // such as xenstore
}

// Settings is the answer to MethodConfig. Its JSON shape only ever grows.
type Settings struct {
	Values   []Value  `json:"values"`
	Problems []string `json:"problems"` // one line each
}

// ServiceStatus is how a supervised service has fared.
type ServiceStatus struct {
	Name   string         `json:"name"`
	Port   uint32         `json:"port"`
	State  services.State `json:"state"`
	Starts uint64         `json:"starts"` // times it was started
	Panics uint64         `json:"panics"`
	// Error is why it ended last; empty: it never did.
	Error string `json:"error,omitempty"`
	// Since is when it came into its state, by the clock of the domain; zero: it is
	// not known.
	Since time.Time `json:"since,omitzero"`
}

// Parameters of calls and replies. What an order needs is a pointer, so that a
// caller that leaves it out is told so, instead of having its zero value done.
type (
	statusReply struct {
		Status any `json:"status"`
	}
	statusAnswer struct {
		Status json.RawMessage `json:"status"`
	}
	listing struct {
		Services []ServiceStatus `json:"services"`
	}
	setLog struct {
		Level *string `json:"level"`
	}
	restart struct {
		Service *string `json:"service"`
	}
	shutdown struct {
		Reboot *bool `json:"reboot"`
	}
)
