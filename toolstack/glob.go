package toolstack

import (
	"errors"
	"fmt"
)

// ErrGlob says that a text cannot be a pattern for names.
var ErrGlob = errors.New("bad pattern for names of domains")

// maxGlob is the most bytes of a pattern.
const maxGlob = 256

// CheckPatterns checks patterns for names of domains. The error wraps ErrGlob.
func CheckPatterns(patterns []string) error {
	for _, p := range patterns {
		if p == "" || len(p) > maxGlob {
			return fmt.Errorf("%w %.40q: use 1 to %d bytes", ErrGlob, p, maxGlob)
		}
	}
	return nil
}
