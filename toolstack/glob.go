package toolstack

import (
	"errors"
	"fmt"
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
