package launch

import (
	"os/exec"

	pid1 "xvsock/init"
	"xvsock/services/payload"
)

// programs starts payloads as children of PID 1, whose Reaper alone waits for them.
type programs struct{ reaper *pid1.Reaper }

// Start implements payload.Programs.
func (p programs) Start(cmd *exec.Cmd) (payload.Process, error) {
	child, err := p.reaper.Start(cmd)
	if err != nil {
		return nil, err // not child: a nil *Process in an interface is not nil
	}
	return child, nil
}
