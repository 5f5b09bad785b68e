package cli

import (
	"os/exec"
	"syscall"
	"testing"
)

func TestWhoRunsInAGroup(t *testing.T) {
	for line, want := range map[string]bool{
		"12 (sh) S 1 7 7 0 -1":          true,
		"12 (a ) Z 1 7 ) R 1 7 7 0":     true,
		"12 (7) S 1 8 7 0 -1":           false,
		"12 (sh) Z 1 7 7 0 -1":          false,
		"12 (sh) X 1 7 7 0 -1":          false,
		"12 (S 1 7 7) S 1 77 7 0":       false,
		"12 (sh) S 1":                   false,
		"":                              false,
		"7":                             false,
		"4194304 (x) D 4194303 7 1 0 0": true,
	} {
		if got := runsIn([]byte(line), 7); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
}

// Until a child is waited for its number, and its group's, is nobody else's.
func TestAGroupWhoseLeaderHasExitedIsStillThere(t *testing.T) {
	cmd := exec.Command("true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	awaitExit(cmd.Process.Pid)
	if groupRuns(cmd.Process.Pid) {
		t.Error("an exited leader alone is a group that runs")
	}
	if err := syscall.Kill(-cmd.Process.Pid, 0); err != nil {
		t.Errorf("the group: %v", err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it can be waited for no more: %v", err)
	}
}
