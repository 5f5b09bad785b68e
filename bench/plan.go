package bench

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Case names a kind of measurement.
type Case string

// The cases.
const (
	RoundTrip Case = "rr"      // a message there and back, one after the other
	Stream    Case = "stream"  // one way, as fast as it goes
	Many      Case = "many"    // many connections at once, and small requests beside them
	Connect   Case = "connect" // connections made and closed, one after the other
)

// Cases lists the cases.
func Cases() []Case { return []Case{RoundTrip, Stream, Many, Connect} }

// Bounds of a Plan.
const (
	MaxTime  = 10 * time.Minute
	MaxCount = 1 << 40
	MaxConns = 2000 // open at once
	MaxLot   = 1 << 16
	// MaxConnectLot is the largest lot of Connect: fewer than a listener keeps waiting.
	MaxConnectLot = 31
)

const (
	bulkSize    = 16 << 10 // of the messages of streams beside round trips
	requestSize = 64       // of the requests beside streams
)

// Plan says what to measure.
type Plan struct {
	Case Case
	// Size is how many bytes a message has; of Connect it means nothing.
	Size int
	// Time ends the measurement, or Count, whichever is first. One of them may be 0
	// for no bound, the time then being MaxTime.
	Time time.Duration
	// Count is how many round trips, connections, or messages of each stream.
	Count uint64
	// Conns is how many connections are open (0: 1). Of RoundTrip one of them is used
	// and the others lie idle; of Stream and Many all send.
	Conns int
	// Bulk is how many streams go on beside: with RoundTrip so many more
	// connections, of messages of 16 KiB; with Many only so many of Conns send and
	// the others lie idle (0: all send).
	Bulk int
	// Lot is how many round trips, or connections, are timed together (0: 1).
	Lot int
	// Reverse has the server send the streams.
	Reverse bool
}

// ErrPlan says that a Plan makes no sense, and why.
var ErrPlan = errors.New("bad measurement")

// Check returns an error that wraps ErrPlan if there is no such measurement.
func (p Plan) Check() error {
	p = p.filled()
	var why string
	switch {
	case !slices.Contains(Cases(), p.Case):
		why = fmt.Sprintf("no case %.20q", string(p.Case))
	case p.Size < 1 || p.Size > MaxSize:
		why = fmt.Sprintf("size %d: use 1 to %d", p.Size, MaxSize)
	case p.Time < time.Millisecond || p.Time > MaxTime:
		why = fmt.Sprintf("time %v: use 1ms to %v", p.Time, MaxTime)
	case p.Count > MaxCount:
		why = fmt.Sprintf("count %d: use at most %d", p.Count, uint64(MaxCount))
	case p.Conns < 1 || p.Conns > MaxConns || p.Bulk < 0 || p.Bulk > MaxConns-p.Conns && p.Case == RoundTrip:
		why = fmt.Sprintf("%d connections and %d streams: use 1 to %d in all", p.Conns, p.Bulk, MaxConns)
	case p.Bulk > p.Conns && p.Case == Many:
		why = fmt.Sprintf("%d streams of %d connections", p.Bulk, p.Conns)
	case p.Bulk > 0 && (p.Case == Stream || p.Case == Connect):
		why = "streams go on beside rr and many only"
	case p.Conns > 1 && p.Case == Connect:
		why = "connections are made one after the other"
	case p.Lot > MaxConnectLot && p.Case == Connect:
		why = fmt.Sprintf("lot %d: use at most %d of connections", p.Lot, MaxConnectLot)
	case p.Lot < 1 || p.Lot > MaxLot:
		why = fmt.Sprintf("lot %d: use 1 to %d", p.Lot, MaxLot)
	default:
		return nil
	}
	return fmt.Errorf("%w: %s", ErrPlan, why)
}

// Limit is the most that the measurement takes before it is given up.
func (p Plan) Limit() time.Duration {
	p = p.filled()
	return p.Time + p.warmup() + setupTime
}

// setupTime is how long all connections may take to be made, and the streams to
// drain.
const setupTime = 2 * time.Minute

// warmup is how long round trips go before they count.
func (p Plan) warmup() time.Duration { return min(p.Time/10, time.Second) }

// warmupCount is how many there are at most; 0: no bound.
func (p Plan) warmupCount() uint64 {
	if p.Count == 0 {
		return 0
	}
	return max(p.Count/10, 1)
}

// filled puts in what was left out.
func (p Plan) filled() Plan {
	if p.Time == 0 && p.Count > 0 {
		p.Time = MaxTime
	}
	if p.Case == Connect {
		p.Size = max(p.Size, 1)
	}
	if p.Conns == 0 {
		p.Conns = 1
	}
	if p.Lot == 0 {
		p.Lot = 1
	}
	return p
}

// senders is how many streams there are, of messages of how many bytes.
func (p Plan) senders() (n, size int) {
	switch {
	case p.Case == Connect:
		return 0, 0
	case p.Case == RoundTrip:
		return p.Bulk, bulkSize
	case p.Case == Many && p.Bulk > 0:
		return p.Bulk, p.Size
	}
	return p.Conns, p.Size
}

// idle is how many connections lie idle.
func (p Plan) idle() int {
	switch {
	case p.Case == RoundTrip:
		return p.Conns - 1
	case p.Case == Many && p.Bulk > 0:
		return p.Conns - p.Bulk
	}
	return 0
}

// CaseNames is what the cases are called, for usage.
func CaseNames() string {
	names := make([]string, 0, len(Cases()))
	for _, c := range Cases() {
		names = append(names, string(c))
	}
	return strings.Join(names, ", ")
}
