package port1

import "fmt"

// Error says that bytes are not the message that they were to be. Whoever sent
// them is broken (rules R5, R10).
type Error struct {
	Type  Type   // of the message, as its header has it
	Field string // by its name in the layout
	Value uint64 // what it was; of a field of bytes the first wrong one
	Why   string // what is wrong with it
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("port 1: %s of %v is %#x: %s", e.Field, e.Type, e.Value, e.Why)
}
