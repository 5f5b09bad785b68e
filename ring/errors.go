package ring

import (
	"errors"
	"fmt"
)

// ErrGone says that the other side's state byte is 0: it closed its end, or
// its kernel cleared the byte when its process died. It is no lie.
var ErrGone = errors.New("ring: the other side is gone")

// LieError says that the other side published something that no honest peer
// can publish. The End is dead, and the link is to be treated as broken.
type LieError struct {
	Word  string // the word's name in the layout
	Value uint64 // what it was
	Why   string // what is wrong with it
}

// Error implements error.
func (e *LieError) Error() string {
	return fmt.Sprintf("ring: the other side's %s is %#x: %s", e.Word, e.Value, e.Why)
}
