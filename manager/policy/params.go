package policy

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const (
	maxLimit = 1 << 20 // of conns and rate
	minRing  = 4 << 10 // bytes: a page
	maxRing  = 1 << 20
)

var (
	errTwice   = errors.New("it is there already, so remove one of them")
	errDeny    = errors.New("a deny takes log alone")
	errUnknown = errors.New("the parameters are conns=N rate=N access=copy|map ring=BYTES log")
	errLimit   = errors.New("use a number from 1 to 1048576, or leave it out for no limit")
	errAccess  = errors.New("it is access=copy or access=map")
	errRing    = errors.New("use a power of two from 4096 to 1048576 bytes, such as 64K")
)

// parseParams reads the parameters of a rule whose action is known.
func (r *Rule) parseParams(fields []string) error {
	seen := make(map[string]bool)
	for _, f := range fields {
		key, value, valued := strings.Cut(f, "=")
		err := r.parseParam(key, value, valued)
		switch {
		case err != nil:
		case seen[key]:
			err = errTwice
		case !r.Allow && key != "log":
			err = errDeny
		}
		if err != nil {
			return fmt.Errorf("bad parameter %.40q: %w", f, err)
		}
		seen[key] = true
	}
	return nil
}

func (r *Rule) parseParam(key, value string, valued bool) (err error) {
	if valued != (key != "log") {
		return errUnknown
	}
	switch key {
	case "conns":
		r.Conns, err = parseLimit(value)
	case "rate":
		r.Rate, err = parseLimit(value)
	case "access":
		r.Access, err = parseAccess(value)
	case "ring":
		r.Ring, err = parseRing(value)
	case "log":
		r.Log = true
	default:
		err = errUnknown
	}
	return err
}

func parseLimit(s string) (uint32, error) {
	n, ok := parseNumber(s)
	if !ok || n == 0 || n > maxLimit {
		return 0, errLimit
	}
	return n, nil
}

func parseAccess(s string) (Access, error) {
	switch s {
	case "copy":
		return AccessCopy, nil
	case "map":
		return AccessMap, nil
	}
	return 0, errAccess
}

func parseRing(s string) (int, error) {
	unit := uint64(1)
	if digits, ok := strings.CutSuffix(s, "K"); ok {
		s, unit = digits, 1<<10
	} else if digits, ok := strings.CutSuffix(s, "M"); ok {
		s, unit = digits, 1<<20
	}
	n, ok := parseNumber(s)
	size := uint64(n) * unit
	if !ok || size < minRing || size > maxRing || size&(size-1) != 0 {
		return 0, errRing
	}
	return int(size), nil
}

// parseNumber reads decimal digits, without sign or leading zeros.
func parseNumber(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && strconv.FormatUint(n, 10) == s
}

// formatSize is the shortest way to write the size of a ring.
func formatSize(n int) string {
	if n >= 1<<20 {
		return strconv.Itoa(n>>20) + "M"
	}
	return strconv.Itoa(n>>10) + "K"
}
