package pid1

import (
	"context"
	"os"
)

// MemoryStep returns the step "memory", which fits the Go runtime to the memory
// of the domain (TuneMemory). It needs /proc.
func (in *Init) MemoryStep() Step {
	return Step{Name: "memory", Optional: true, Run: func(context.Context) error {
		f, err := os.Open(in.path("/proc/meminfo"))
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = TuneMemory(f)
		return err
	}}
}
