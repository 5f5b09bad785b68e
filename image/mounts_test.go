package image

import (
	"slices"
	"strings"
	"testing"

	pid1 "xvsock/init"
)

// What the image keeps clear is what PID 1 mounts something on.
func TestHiddenDirectoriesAreThoseThatPID1MountsOn(t *testing.T) {
	var targets []string
	for _, m := range pid1.Mounts() {
		targets = append(targets, strings.TrimPrefix(m.Target, "/"))
	}
	slices.Sort(targets)
	if !slices.Equal(targets, hidden[:]) {
		t.Errorf("hidden are %v, PID 1 mounts on %v", hidden, targets)
	}
}
