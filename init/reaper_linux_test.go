package pid1_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	pid1 "xvsock/init"
)

// The test process can have one reaper only, as a domain can: a second would
// take the first one's children. It becomes a subreaper, so orphans come to it
// as they come to PID 1.
var sharedReaper = sync.OnceValues(func() (*pid1.Reaper, error) {
	return pid1.NewReaper(), unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
})

func reaper(t *testing.T) *pid1.Reaper {
	t.Helper()
	r, err := sharedReaper()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = r.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended; signal.Reset(unix.SIGCHLD) })
	return r
}

// waiter is a started program together with the reaper that runs for it.
type waiter struct {
	p   *pid1.Process
	out *bytes.Buffer
	dst *[]byte
	end func()
}

// startShared starts cmd by the one reaper, which runs until Wait returns.
func startShared(cmd *exec.Cmd, out *[]byte) (*waiter, error) {
	r, err := sharedReaper()
	if err != nil {
		return nil, err
	}
	w := &waiter{out: &bytes.Buffer{}, dst: out}
	cmd.Stdout, cmd.Stderr = w.out, w.out
	if w.p, err = r.Start(cmd); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = r.Run(ctx) }()
	w.end = func() { cancel(); <-ended }
	return w, nil
}

func (w *waiter) Wait(ctx context.Context) error {
	defer w.end()
	err := w.p.Wait(ctx)
	*w.dst = w.out.Bytes()
	return err
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestReaperKeepsTheStatusOfItsOwnPrograms(t *testing.T) {
	r := reaper(t)
	for _, tt := range []struct{ name, script, want string }{
		{"one that ends well", "exit 0", ""},
		{"one that fails", "exit 7", "exit status 7"},
		{"one that is killed", "kill -TERM $$", "killed by SIGTERM"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			cmd := exec.Command("/bin/sh", "-c", "echo hello; "+tt.script)
			cmd.Stdout = &out
			p, err := r.Start(cmd)
			if err != nil {
				t.Fatal(err)
			}
			err = p.Wait(within(t))
			if text(err) != tt.want || out.String() != "hello\n" {
				t.Errorf("Wait() = %v, output %q; want %q, all output", err, out.String(), tt.want)
			}
			if err := p.Signal(unix.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
				t.Errorf("Signal() after the end = %v; want os.ErrProcessDone", err)
			}
		})
	}
}

func TestReaperSignalsALivingProgram(t *testing.T) {
	r := reaper(t)
	p, err := r.Start(exec.Command("/bin/sleep", "1000"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(within(t)); text(err) != "killed by SIGKILL" {
		t.Errorf("Wait() = %v; want killed by SIGKILL", err)
	}
}

func TestReaperReportsAProgramThatCannotStart(t *testing.T) {
	if _, err := reaper(t).Start(exec.Command("/no/such/program")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Start() = %v; want os.ErrNotExist", err)
	}
}

// children lists the children of this process from /proc, without waiting for
// any.
func children(t *testing.T) string {
	t.Helper()
	var list []string
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		stat, err := os.ReadFile("/proc/" + d.Name() + "/stat")
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(os.Getpid()) {
			list = append(list, string(stat))
		}
	}
	return strings.Join(list, "; ")
}

func TestReaperBuriesWhatDiedBeforeItRan(t *testing.T) {
	r, err := sharedReaper()
	if err != nil {
		t.Fatal(err)
	}
	p, err := r.Start(exec.Command("/bin/true"))
	if err != nil {
		t.Fatal(err)
	}
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_PID, p.PID(), &info, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	reaper(t)
	if err := p.Wait(within(t)); err != nil {
		t.Errorf("Wait() = %v; want nil", err)
	}
}

func TestDrainGivesUpAtItsDeadline(t *testing.T) {
	r := reaper(t)
	p, err := r.Start(exec.Command("/bin/sleep", "1000"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := r.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Drain() = %v; want its deadline", err)
	}
	if err := p.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := r.Drain(within(t)); err != nil {
		t.Errorf("Drain() = %v; want nil once the program is gone", err)
	}
	<-p.Done()
}

func TestSignalsThatEndTheDomain(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan pid1.How, 100)
	ended := make(chan struct{})
	// Until Signals listens, a signal would end the test.
	guard := make(chan os.Signal, 16)
	signal.Notify(guard, unix.SIGTERM, unix.SIGINT, unix.SIGUSR2, unix.SIGPWR, unix.SIGHUP, unix.SIGQUIT, unix.SIGPIPE, unix.SIGUSR1)
	go func() { defer close(ended); pid1.Signals(ctx, func(h pid1.How) { got <- h }) }()
	await := func(want pid1.How, sig unix.Signal, every time.Duration) {
		t.Helper()
		for limit := within(t); ; {
			raise(t, sig)
			select {
			case how := <-got:
				if how == want {
					return
				}
			case <-time.After(every):
			case <-limit.Done():
				t.Fatalf("%s was not acted on", unix.SignalName(sig))
			}
		}
	}
	await(pid1.PowerOff, unix.SIGTERM, 50*time.Millisecond) // it listens now
	signal.Stop(guard)
	await(pid1.Reboot, unix.SIGINT, time.Minute) // and nothing older is on its way
	for _, tt := range []struct {
		signal unix.Signal
		want   pid1.How
	}{{unix.SIGTERM, pid1.PowerOff}, {unix.SIGINT, pid1.Reboot}, {unix.SIGUSR2, pid1.PowerOff}, {unix.SIGINT, pid1.Reboot}, {unix.SIGPWR, pid1.PowerOff}} {
		for _, dropped := range []unix.Signal{unix.SIGHUP, unix.SIGQUIT, unix.SIGPIPE, unix.SIGUSR1} {
			raise(t, dropped)
		}
		raise(t, tt.signal)
		select {
		case how := <-got:
			if how != tt.want {
				t.Errorf("%s: %v; want %v", unix.SignalName(tt.signal), how, tt.want)
			}
		case <-within(t).Done():
			t.Fatalf("%s was not acted on", unix.SignalName(tt.signal))
		}
	}
	cancel()
	<-ended
	if len(got) > 0 {
		t.Error("a signal that asks for nothing ended the domain")
	}
}

func raise(t *testing.T, sig unix.Signal) {
	t.Helper()
	if err := unix.Kill(os.Getpid(), sig); err != nil {
		t.Fatal(err)
	}
}

func TestAnExitErrorTellsASignalFromAStatus(t *testing.T) {
	for status, want := range map[unix.WaitStatus]bool{unix.WaitStatus(unix.SIGKILL): true, 1 << 8: false} {
		if err := (&pid1.ExitError{Status: status}); err.Signaled() != want {
			t.Errorf("%v: Signaled() = %v", err, !want)
		}
	}
}
