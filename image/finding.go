package image

import "fmt"

// Level is how grave a Finding is.
type Level string

const (
	// Missing is what is not there, and the domain does not work without.
	Missing Level = "missing"
	// Wrong is what is there, and does not work.
	Wrong Level = "wrong"
	// Warning is what may be meant, and may not.
	Warning Level = "warning"
	// Unchecked is what could not be found out.
	Unchecked Level = "not checked"
)

// fails reports whether an image with such a finding is not in order.
func (l Level) fails() bool { return l == Missing || l == Wrong }

// Finding is one thing about an image that people should know. Its text may
// quote the image, and is not escaped.
type Finding struct {
	Level Level `json:"level"`
	// Thing is what it is about: a path in the image, a module, an option of
	// the kernel.
	Thing string `json:"thing"`
	// Reason says what is wrong with it, Fix what would help; Fix may be empty.
	Reason string `json:"reason"`
	Fix    string `json:"fix,omitempty"`
}

// String gives the finding as one line, without its level.
func (f Finding) String() string {
	if f.Fix == "" {
		return fmt.Sprintf("%s: %s", f.Thing, f.Reason)
	}
	return fmt.Sprintf("%s: %s; %s", f.Thing, f.Reason, f.Fix)
}
