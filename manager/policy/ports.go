package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"xvsock/services"
)

// The ports that a rule may be about: 0 and 0xFFFFFFFF are none, and port 1 is for
// every attached domain.
const (
	firstPort = services.PortManager + 1
	lastPort  = 0xFFFFFFFE
)

// maxPorts is how many items a list of ports may have.
const maxPorts = 64

// everyPort is what * stands for.
var everyPort = span{firstPort, lastPort}

// span is the ports from first to last.
type span struct{ first, last uint32 }

// parsePorts reads the field of ports. The spans that it returns are in order and
// do not touch each other.
func parsePorts(field string) ([]span, error) {
	if field == "*" {
		return []span{everyPort}, nil
	}
	if n := strings.Count(field, ",") + 1; n > maxPorts {
		return nil, fmt.Errorf("lists %d ports: at most %d in a rule, so make it two rules or use ranges", n, maxPorts)
	}
	var all []span
	for item := range strings.SplitSeq(field, ",") {
		s, err := parseSpan(item)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return joined(all), nil
}

// parseSpan reads one item of a list of ports.
func parseSpan(item string) (span, error) {
	switch item {
	case "":
		return span{}, errors.New("an item of the list of ports is empty: remove the comma too many")
	case "*":
		return span{}, errors.New("* in a list of ports: it stands alone, for all of them")
	}
	from, to, isRange := strings.Cut(item, "-")
	if !isRange {
		to = from
	}
	first, err := parsePort(from, isRange)
	if err != nil {
		return span{}, fmt.Errorf("bad port %.40q: %w", item, err)
	}
	last, err := parsePort(to, isRange)
	if err != nil {
		return span{}, fmt.Errorf("bad port %.40q: %w", item, err)
	}
	if first > last {
		return span{}, fmt.Errorf("bad port %.40q: the range ends before it begins, so turn it round", item)
	}
	return span{first, last}, nil
}

var (
	errPort       = errors.New("use a number from 2 to 4294967294, a range of two, the name of a well-known port, or *")
	errRangeNames = errors.New("a range is two numbers")
	errPortOne    = errors.New("port 1 is the manager's, and open to every attached domain, so begin at 2")
)

func parsePort(text string, inRange bool) (uint32, error) {
	port, err := services.ParsePort(text)
	if err != nil {
		return 0, errPort
	}
	if _, named := services.PortOf(text); named && inRange {
		return 0, errRangeNames
	}
	if port == services.PortManager {
		return 0, errPortOne
	}
	return port, nil
}

// joined returns the same ports as spans in order that do not touch each other.
func joined(all []span) []span {
	slices.SortFunc(all, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	out := all[:1]
	for _, s := range all[1:] {
		// last is at most lastPort, so one more is still a number.
		if end := &out[len(out)-1].last; s.first <= *end+1 {
			*end = max(*end, s.last)
		} else {
			out = append(out, s)
		}
	}
	return out
}

// contains reports whether the port is in one of the spans, which are in order.
func contains(all []span, port uint32) bool { return covers(all, span{port, port}) }

// covers reports whether all ports of s are in the spans, which are in order and do
// not touch.
func covers(all []span, s span) bool {
	i, _ := slices.BinarySearchFunc(all, s.first, func(a span, port uint32) int { return cmp.Compare(a.last, port) })
	return i < len(all) && all[i].first <= s.first && s.last <= all[i].last
}

// formatPorts is the canonical form: in numbers, so that it is not longer than what
// was parsed.
func formatPorts(all []span) string {
	if len(all) == 1 && all[0] == everyPort {
		return "*"
	}
	var b []byte
	for i, s := range all {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(s.first), 10)
		if s.last > s.first {
			b = strconv.AppendUint(append(b, '-'), uint64(s.last), 10)
		}
	}
	return string(b)
}
