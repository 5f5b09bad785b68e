package daemon

import (
	"time"

	"xvsock/services/varlink"
)

// MethodPolicy asks a backend for its policy: the rules in force, and the domains
// that they are about. It is called with more set, for a policy may be larger than
// a message.
const MethodPolicy = ControlInterface + ".Policy"

// PolicyReply is the answer to MethodPolicy. The shape only ever grows.
type PolicyReply struct {
	Source  string    `json:"source"`         // the directory or the xenstore path
	Version string    `json:"version"`        // of the set in force; empty: none was taken yet
	Since   time.Time `json:"since,omitzero"` // when it was taken
	// Error is why the newest set was refused, or what else is wrong with the
	// source, and RefusedSince since when; empty: nothing is.
	Error        string    `json:"error,omitempty"`
	RefusedSince time.Time `json:"refused_since,omitzero"`
	// Unconfirmed are the domains that have not confirmed yet that they go by the
	// set in force.
	Unconfirmed []uint16       `json:"unconfirmed"`
	Rules       []PolicyRule   `json:"rules"`
	Domains     []PolicyDomain `json:"domains"` // all that are attached, and the backend's own
}

// PolicyRule is a rule, and where it stands.
type PolicyRule struct {
	File string `json:"file"`
	Line int    `json:"line"` // from 1
	Text string `json:"text"` // as written, without comment
}

// PolicyDomain is a domain as rules see it.
type PolicyDomain struct {
	Domain  uint16   `json:"domain"`
	Name    string   `json:"name"`
	UUID    string   `json:"uuid"`
	Tags    []string `json:"tags"`
	Backend bool     `json:"backend"` // the backend's own
}

// Answer answers the call: with a reply that fits into one message at once, else
// with several, of which a caller takes the last one's result as the handler's.
func (r PolicyReply) Answer(call *varlink.Call) (any, error) {
	part := r
	part.Rules, part.Domains = []PolicyRule{}, []PolicyDomain{}
	p := parts{send: func() error {
		if err := call.Send(part); err != nil {
			return err
		}
		part = PolicyReply{Rules: []PolicyRule{}, Domains: []PolicyDomain{}, Unconfirmed: []uint16{}}
		return nil
	}}
	for _, rule := range r.Rules {
		if err := p.room(rule); err != nil {
			return nil, err
		}
		part.Rules = append(part.Rules, rule)
	}
	for _, d := range r.Domains {
		if d.Tags == nil {
			d.Tags = []string{}
		}
		if err := p.room(d); err != nil {
			return nil, err
		}
		part.Domains = append(part.Domains, d)
	}
	return part, nil
}

// Add appends the next part of an answer: rules and domains. What else there is
// stands in the first.
func (r *PolicyReply) Add(part PolicyReply) {
	r.Rules = append(r.Rules, part.Rules...)
	r.Domains = append(r.Domains, part.Domains...)
}
