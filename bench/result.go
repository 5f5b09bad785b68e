package bench

import "math"

// Result is what a measurement has found. Its JSON only ever grows.
type Result struct {
	Case  Case   `json:"case"`
	Size  int    `json:"size"`          // bytes of a message; 0 of Connect
	Conns int    `json:"conns"`         // open connections, without the streams beside round trips
	Bulk  int    `json:"bulk"`          // streams
	Lot   int    `json:"lot"`           // trips that were timed together
	Back  bool   `json:"reverse"`       // the server sent the streams
	Via   string `json:"via,omitempty"` // the way that was measured, if it is not the daemon itself

	// Count is how many round trips there were, messages of all streams, or
	// connections; Seconds how long they took, of streams at the receiver; Rate the
	// one by the other.
	Count   uint64  `json:"count"`
	Seconds float64 `json:"seconds"`
	Rate    float64 `json:"rate"`
	// First is how long the first connection took to be made, and with it the link
	// if there was none, in microseconds.
	First float64 `json:"first_us"`
	// Percentiles are of round trips, of the requests beside streams, or of making a
	// connection, in microseconds.
	Percentiles *Percentiles `json:"percentiles_us,omitempty"`
	// Bytes is what all streams carried, as the receiver counted, MBs that in
	// 10^6 bytes a second.
	Bytes    uint64    `json:"bytes"`
	MBs      float64   `json:"mb_s"`
	Fairness *Fairness `json:"fairness,omitempty"` // between two or more streams
	// Allocs is how many times this process took memory of the heap, for whatever
	// reason, for each of Count.
	Allocs float64 `json:"allocs"`
	// Counts are what was counted beside (Counters), in this process, for each Per:
	// round trip, connection, or MiB of the streams.
	Counts map[string]float64 `json:"counts"`
	Per    string             `json:"per"`
}

// Percentiles are times in microseconds. Of a lot each time is the mean of its trips.
type Percentiles struct {
	Samples uint64  `json:"samples"` // times, each of a lot
	Min     float64 `json:"min"`
	P50     float64 `json:"p50"`
	P90     float64 `json:"p90"`
	P99     float64 `json:"p99"`
	P999    float64 `json:"p99_9"`
	Max     float64 `json:"max"`
	Mean    float64 `json:"mean"`
}

// Fairness says how alike the streams fared that went on at the same time, by their
// bytes.
type Fairness struct {
	MinMax float64 `json:"min_max"` // the least by the most: 1 is all alike
	Jain   float64 `json:"jain"`    // Jain's index: 1 is all alike, 1/n that one had all
}

// fairness compares the bytes of streams; nil if there is nothing to compare.
func fairness(bytes []uint64) *Fairness {
	if len(bytes) < 2 {
		return nil
	}
	var sum, squares, most float64
	least := math.Inf(1)
	for _, b := range bytes {
		x := float64(b)
		sum, squares = sum+x, squares+x*x
		least, most = min(least, x), max(most, x)
	}
	if most == 0 {
		return nil
	}
	return &Fairness{MinMax: least / most, Jain: sum * sum / (float64(len(bytes)) * squares)}
}
