package pid1_test

import (
	"errors"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	pid1 "xvsock/init"
)

func TestSurroundingsAreMadeForPrograms(t *testing.T) {
	for _, v := range []string{"PATH", "HOME", "TERM"} {
		t.Setenv(v, "")
	}
	t.Setenv("TERM", "vt220")
	m := &machine{}
	if err := pid1.SurroundingsStep(m.kernel(), pid1.Surroundings()).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"mkdir /dev/pts", "mount devpts /dev/pts mode=0600,ptmxmode=0666",
		"mkdir /dev/shm", "mount tmpfs /dev/shm mode=1777,size=10%",
	}
	if got := m.took(); !slices.Equal(got, want) {
		t.Errorf("the machine saw %q; want %q", got, want)
	}
	got := []string{os.Getenv("PATH"), os.Getenv("HOME"), os.Getenv("TERM")}
	if want := []string{"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "/", "vt220"}; !slices.Equal(got, want) {
		t.Errorf("PATH, HOME, TERM = %q; want %q", got, want)
	}
}

func TestSurroundingsThatAreMissing(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"a kernel without them is no fault", unix.ENODEV, ""},
		{"they are there already", unix.EBUSY, ""},
		{"another error is said", unix.EPERM, "mount of devpts on /dev/pts: operation not permitted; mount of tmpfs on /dev/shm: operation not permitted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := (&machine{}).kernel()
			k.Mount = func(string, string, string, uintptr, string) error { return tt.err }
			step := pid1.SurroundingsStep(k, pid1.Surroundings())
			if err := step.Run(t.Context()); text(err) != tt.want || !step.Optional {
				t.Errorf("Run() = %v; want %q, of an optional step", err, tt.want)
			}
		})
	}
}

func TestNothingOfTheSurroundingsRunsSetuidAndOnlyTerminalsAreDevices(t *testing.T) {
	for _, m := range pid1.Surroundings() {
		if m.Flags&unix.MS_NOSUID == 0 || m.Flags&unix.MS_NOEXEC == 0 {
			t.Errorf("%s honours setuid files, or runs programs", m)
		}
		if (m.Flags&unix.MS_NODEV == 0) != (m.Type == "devpts") {
			t.Errorf("%s: devices allowed = %v", m, m.Flags&unix.MS_NODEV == 0)
		}
	}
}

func TestLoopbackIsOptional(t *testing.T) {
	k := (&machine{}).kernel()
	refused := errors.New("refused")
	k.LoopbackUp = func() error { return refused }
	if step := pid1.LoopbackStep(k); !step.Optional || !errors.Is(step.Run(t.Context()), refused) {
		t.Errorf("step %+v; want an optional one that fails", step)
	}
}
