package benchreport

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
)

// Names of figures that the chart is made from. A case of streams gives the size of its
// messages and of the rings of each side, in bytes; one of round trips its percentiles
// in microseconds.
const (
	FigureSize = "size"
	FigureRing = "ring"
)

// point is one measured value.
type point struct{ x, y float64 }

// series is a line of a chart: one side's, of one kind.
type series struct {
	side   string // peer, or the access mode: it has a colour
	detail string // what else tells it from others of its side: it has a kind of line
	points []point
}

func (s series) name() string {
	name := "xvsock, " + s.side
	if s.side == sidePeer {
		name = "libxenvchan"
	}
	if s.detail != "" {
		name += ", " + s.detail
	}
	return name
}

// sidePeer is the side of a series that is not ours.
const sidePeer = "peer"

// percentiles are the figures of round trips, with 1/(1-p), so that a logarithmic scale
// puts each nine as far from the one before.
var percentiles = []tick{{2, "p50"}, {10, "p90"}, {100, "p99"}, {1000, "p99.9"}}

// roundTrips are the lines of the chart of round trips of 64 B.
func roundTrips(results []Result) []series {
	var all []series
	add := func(side, detail string, f Figures) {
		s := series{side: side, detail: detail}
		for _, p := range percentiles {
			if v := f[p.label]; positive(v) {
				s.points = append(s.points, point{p.at, v})
			}
		}
		known := slices.ContainsFunc(all, func(other series) bool { return other.side == side && other.detail == detail })
		if len(s.points) > 0 && !known {
			all = append(all, s)
		}
	}
	for _, r := range results {
		switch r.Case {
		case "rr-64B":
			add(sidePeer, "", r.PeerFigures)
			add(r.Mode, "", r.OursFigures)
		case "rr-64B-sleep":
			add(sidePeer, "", r.PeerFigures)
			add(r.Mode, "no polling", r.OursFigures)
		}
	}
	return all
}

// streams are the lines of the chart of throughput against message size.
func streams(results []Result) []series {
	type key struct {
		side string
		ring float64
	}
	found := make(map[key]map[float64][]float64) // by size of the messages
	add := func(side string, f Figures, value float64) {
		size, ring := f[FigureSize], f[FigureRing]
		if !positive(size) || !positive(ring) {
			return
		}
		k := key{side, ring}
		if found[k] == nil {
			found[k] = make(map[float64][]float64)
		}
		found[k][size] = append(found[k][size], value)
	}
	for _, r := range results {
		if r.Metric == Throughput {
			add(r.Mode, r.OursFigures, r.Ours)
			add(sidePeer, r.PeerFigures, r.Peer)
		}
	}
	keys := slices.SortedFunc(maps.Keys(found), func(a, b key) int {
		return cmp.Or(cmp.Compare(a.side, b.side), cmp.Compare(a.ring, b.ring))
	})
	var all []series
	for _, k := range keys {
		s := series{side: k.side, detail: bytesName(k.ring) + " rings"}
		for _, size := range slices.Sorted(maps.Keys(found[k])) {
			s.points = append(s.points, point{size, Median(found[k][size])})
		}
		all = append(all, s)
	}
	return all
}

// bytesName is a number of bytes as people write it.
func bytesName(n float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= unit.size && math.Mod(n, unit.size) == 0 {
			return fmt.Sprintf("%.0f %s", n/unit.size, unit.name)
		}
	}
	return fmt.Sprintf("%.0f B", n)
}
