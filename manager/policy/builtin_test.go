package policy_test

import (
	"strings"
	"testing"

	"xvsock/manager/policy"
)

func TestBuiltinPermissions(t *testing.T) {
	for port, want := range map[uint32]bool{0: false, 1: true, 2: true, 3: false, 7: false, 0xFFFFFFFF: false} {
		if got := policy.BuiltinToBackend(port); got != want {
			t.Errorf("a frontend to port %d of the backend: %v", port, got)
		}
	}
	for _, c := range []struct {
		source, port uint32
		want         bool
	}{
		{1023, 2, true}, {1, 4, true}, {512, 6, true}, {1023, 1, false}, {1023, 0, false}, {1023, 7, false},
		{1024, 4, false}, {0, 4, false}, {0xFFFFFFFF, 4, false},
	} {
		if got := policy.BuiltinToFrontend(c.source, c.port); got != c.want {
			t.Errorf("the backend's domain from port %d to port %d: %v", c.source, c.port, got)
		}
	}
	if text := strings.Join(policy.Builtin(), "\n"); !strings.Contains(text, "manager,discovery") || !strings.Contains(text, "log:") {
		t.Errorf("Builtin = %q", text)
	}
}
