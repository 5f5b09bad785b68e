package daemon

import (
	"math"
	"time"

	"xvsock/bench"
)

// MethodBench measures connections to the bench service of a domain, and takes as long
// as bench.Plan.Limit at most. It has one reply; called with more set it ends when its
// caller goes.
const MethodBench = ControlInterface + ".Bench"

// BenchArgs are the parameters of MethodBench: a domain, and a bench.Plan.
type BenchArgs struct {
	Domain string `json:"domain"`         // as in ServicesArgs
	Port   uint32 `json:"port,omitempty"` // 0: that of bench

	Case    string  `json:"case"`
	Size    int     `json:"size,omitempty"`
	Seconds float64 `json:"seconds,omitempty"` // bench.Plan.Time
	Count   uint64  `json:"count,omitempty"`
	Conns   int     `json:"conns,omitempty"`
	Bulk    int     `json:"bulk,omitempty"`
	Lot     int     `json:"lot,omitempty"`
	Reverse bool    `json:"reverse,omitempty"`
}

// NewBenchArgs asks for a plan at a port of a domain.
func NewBenchArgs(domain string, port uint32, p bench.Plan) BenchArgs {
	return BenchArgs{
		Domain: domain, Port: port, Case: string(p.Case), Size: p.Size, Seconds: p.Time.Seconds(), Count: p.Count,
		Conns: p.Conns, Bulk: p.Bulk, Lot: p.Lot, Reverse: p.Reverse,
	}
}

// plan is what is asked for. The caller checks it.
func (a BenchArgs) plan() bench.Plan {
	// More than any plan has would not fit into a time.Duration.
	seconds := max(-1, min(a.Seconds, 2*bench.MaxTime.Seconds()))
	return bench.Plan{
		Case: bench.Case(a.Case), Size: a.Size, Time: time.Duration(math.Round(seconds * float64(time.Second))), Count: a.Count,
		Conns: a.Conns, Bulk: a.Bulk, Lot: a.Lot, Reverse: a.Reverse,
	}
}

// BenchReply is the answer to MethodBench.
type BenchReply struct {
	Result bench.Result `json:"result"`
}
