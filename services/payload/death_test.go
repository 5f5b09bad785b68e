package payload

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// bySignal is what a Process of another Programs may say.
type bySignal bool

func (bySignal) Error() string    { return "ended" }
func (s bySignal) Signaled() bool { return bool(s) }

func TestADeathIsToldFromAnExit(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want bool
	}{
		"status 0":                   {nil, false},
		"status 3":                   {exec.Command("/bin/sh", "-c", "exit 3").Run(), false},
		"SIGKILL":                    {exec.Command("/bin/sh", "-c", "kill -9 $$").Run(), true},
		"status 137":                 {exec.Command("/bin/sh", "-c", "exit 137").Run(), false},
		"another's word":             {fmt.Errorf("wait: %w", bySignal(true)), true},
		"another's word of a status": {bySignal(false), false},
		"an unknown error":           {errors.New("?"), false},
	} {
		if signaled(test.err) != test.want {
			t.Errorf("%s (%v): signaled is %v", name, test.err, !test.want)
		}
	}
}

func TestAProcessOnItsWayOutIsSeen(t *testing.T) {
	if exiting(os.Getpid()) {
		t.Error("this process is said to be exiting")
	}
	zombie := exec.Command("/bin/sh", "-c", "exit 0")
	out, err := zombie.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := zombie.Start(); err != nil {
		t.Fatal(err)
	}
	out.Read(make([]byte, 1)) // its end
	if !exiting(zombie.Process.Pid) {
		t.Error("a process whose output has ended by its exit is not said to be exiting")
	}
	zombie.Wait()
	if !exiting(zombie.Process.Pid) {
		t.Error("a process that is gone is not said to be")
	}
}
