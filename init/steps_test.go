package pid1_test

import (
	"errors"
	"os"
	"testing"

	pid1 "xvsock/init"
)

func TestMemoryStepReadsTheDomainsMemory(t *testing.T) {
	root := t.TempDir()
	in := pid1.New(pid1.Options{Kernel: (&machine{}).kernel(), Console: &console{}, Root: root})
	if err := in.MemoryStep().Run(t.Context()); !errors.Is(err, os.ErrNotExist) || !in.MemoryStep().Optional {
		t.Errorf("without /proc: %v; want os.ErrNotExist, and the boot to go on", err)
	}
	t.Setenv("GOMEMLIMIT", "off") // so that the test's own runtime stays as it is
	t.Setenv("GOGC", "100")
	write(t, root, map[string]string{"proc/meminfo": "MemTotal: 97280 kB\n"})
	if err := in.MemoryStep().Run(t.Context()); err != nil {
		t.Error(err)
	}
}
