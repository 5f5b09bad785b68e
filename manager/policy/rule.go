package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"strconv"
	"strings"
)

// Access is how the reader of a peer link's ring gets at it.
type Access uint8

// The access modes.
const (
	AccessCopy Access = iota // by grant copy alone
	AccessMap                // by mapping the pages read-only, if both ends can
)

// String returns the mode as a rule spells it.
func (a Access) String() string {
	if a == AccessMap {
		return "map"
	}
	return "copy"
}

// Params are what a rule says beyond yes or no. Only an allowing rule has others
// than Log.
type Params struct {
	Conns  uint32 // open connections of one source domain under the rule; 0: no limit
	Rate   uint32 // new ones a second, and at once; 0: no limit
	Access Access // the most that a link for the rule may use
	Ring   int    // bytes of a transmit ring; 0: as usual
	Log    bool   // every decision by the rule is logged
}

// Rule is one rule of a Set. It does not change.
type Rule struct {
	File string // where it stands
	Line int    // from 1
	Text string // as written, without comment
	// ID names the rule: it is the same in another set that has the rule, wherever
	// it stands there, and never 0. Of rules that say the same in one set, it tells
	// the first from the second, and so on.
	ID    uint64
	Allow bool
	Params

	ports               []span
	source, destination pattern
}

// Limits returns the rule's limits as a Meter takes them.
func (r *Rule) Limits() Limits { return Limits{Rule: r.ID, Conns: r.Conns, Rate: r.Rate} }

// String returns the rule in its canonical form: rules that say the same in
// different words have the same. Parse reads it, and it is not longer than the rule
// was.
func (r *Rule) String() string {
	fields := []string{formatPorts(r.ports), r.source.String(), r.destination.String(), "deny"}
	if r.Allow {
		fields[3] = "allow"
	}
	if r.Conns != 0 {
		fields = append(fields, "conns="+strconv.FormatUint(uint64(r.Conns), 10))
	}
	if r.Rate != 0 {
		fields = append(fields, "rate="+strconv.FormatUint(uint64(r.Rate), 10))
	}
	if r.Access != AccessCopy {
		fields = append(fields, "access="+r.Access.String())
	}
	if r.Ring != 0 {
		fields = append(fields, "ring="+formatSize(r.Ring))
	}
	if r.Log {
		fields = append(fields, "log")
	}
	return strings.Join(fields, " ")
}

// ruleID is the name of the ordinal-th rule of a set that has this canonical form.
func ruleID(canonical string, ordinal int) uint64 {
	sum := sha256.Sum256(append([]byte(canonical), "#"+strconv.Itoa(ordinal)...))
	return max(binary.LittleEndian.Uint64(sum[:]), 1)
}
