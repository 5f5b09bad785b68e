package toolstack

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// ErrGlob says that a text cannot be a pattern for names.
var ErrGlob = errors.New("bad pattern for names of domains")

// maxGlob is the most bytes of a pattern.
const maxGlob = 256

// checkGlob checks a pattern.
func checkGlob(pattern string) error {
	if pattern == "" || len(pattern) > maxGlob {
		return fmt.Errorf("%w %.40q: use 1 to %d bytes", ErrGlob, pattern, maxGlob)
	}
	return nil
}

// matchGlob reports whether pattern is a pattern for name, by the same rules as a
// policy's: "*" is any characters, "?" is any one, all else is itself. It takes at
// most len(pattern)*len(name) steps.
func matchGlob(pattern, name string) bool {
	star, resume := -1, 0 // the last "*" seen, and the rest of name to try next after it
	p, n := 0, 0
	for n < len(name) {
		_, size := utf8.DecodeRuneInString(name[n:])
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, resume = p, n
			p++
		case p < len(pattern) && pattern[p] == '?':
			p++
			n += size
		case strings.HasPrefix(pattern[p:], name[n:n+size]):
			p += size
			n += size
		case star >= 0:
			_, size = utf8.DecodeRuneInString(name[resume:])
			resume += size
			p, n = star+1, resume
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
