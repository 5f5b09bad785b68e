package pid1_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"xvsock/config"
	pid1 "xvsock/init"
)

// fixture is an Init whose machine and console can be looked at.
type fixture struct {
	*pid1.Init
	machine *machine
	console *console
	log     *console
}

func newInit(t *testing.T) *fixture {
	return newInitOn(t, &machine{}, func(*pid1.Kernel) {})
}

func newInitOn(t *testing.T, m *machine, change func(*pid1.Kernel)) *fixture {
	kernel := m.kernel()
	change(&kernel)
	f := &fixture{machine: m, console: &console{}, log: &console{}}
	root := t.TempDir()
	write(t, root, map[string]string{"proc/mounts": "tmpfs /run tmpfs rw 0 0\n"})
	f.Init = pid1.New(pid1.Options{
		Kernel: kernel, Console: f.console, Start: time.Now(), Root: root,
		Log: slog.New(slog.NewTextHandler(f.log, nil)),
	})
	return f
}

// newInitAs returns one whose options are changed, which are told the root that
// stands for /.
func newInitAs(t *testing.T, change func(o *pid1.Options)) *fixture {
	f := &fixture{machine: &machine{}, console: &console{}, log: &console{}}
	root := t.TempDir()
	write(t, root, map[string]string{"proc/mounts": ""})
	o := pid1.Options{
		Kernel: f.machine.kernel(), Console: f.console, Start: time.Now(), Root: root,
		Log: slog.New(slog.NewTextHandler(f.log, nil)),
	}
	change(&o)
	f.Init = pid1.New(o)
	return f
}

func after(d time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func TestBootRunsTheTableInOrderAndTellsTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := newInit(t)
		err := in.Boot(t.Context(), []pid1.Step{
			{Name: "mounts", Run: after(2 * time.Millisecond)},
			{Name: "modules", Run: after(40 * time.Millisecond)},
			{Name: "link", Run: after(1500 * time.Microsecond)},
		})
		if err != nil {
			t.Fatal(err)
		}
		want := "xvsock: ready in 43ms (mounts 2.0ms, modules 40ms, link 1.5ms)\n"
		if got := in.console.String(); got != want {
			t.Errorf("console = %q; want %q", got, want)
		}
	})
}

func TestBootStopsAtAStepThatFails(t *testing.T) {
	in := newInit(t)
	ran := false
	broken := errors.New("no such device")
	err := in.Boot(t.Context(), []pid1.Step{
		{Name: "modules", Run: func(context.Context) error {
			return &pid1.Fault{Thing: "module x", Err: broken, Fix: "get one"}
		}},
		{Name: "link", Run: func(context.Context) error { ran = true; return nil }},
	})
	if !errors.Is(err, broken) || ran {
		t.Errorf("Boot() = %v, next step ran = %v; want %v, false", err, ran, broken)
	}
	want := "xvsock: boot: modules: module x: no such device; get one\n"
	if got := in.console.String(); got != want {
		t.Errorf("console = %q; want %q", got, want)
	}
}

func TestBootGoesOnAfterAnOptionalStep(t *testing.T) {
	in := newInit(t)
	err := in.Boot(t.Context(), []pid1.Step{
		{Name: "console", Optional: true, Run: func(context.Context) error { return errors.New("none") }},
		{Name: "link", Run: ok},
	})
	lines := in.console.lines()
	if err != nil || len(lines) != 2 || lines[0] != "xvsock: boot: console: none; going on without it" ||
		!strings.Contains(lines[1], "(console failed after ") || !strings.Contains(lines[1], ", link ") {
		t.Errorf("Boot() = %v, console %q", err, lines)
	}
}

func TestBootLeavesAStepThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := newInit(t)
		ever := make(chan struct{})
		defer close(ever)
		start := time.Now()
		err := in.Boot(t.Context(), []pid1.Step{
			{Name: "store", Timeout: 3 * time.Second, Run: func(context.Context) error { <-ever; return nil }},
		})
		if took := time.Since(start); err == nil || took > 4*time.Second {
			t.Errorf("Boot() = %v after %v; want an error within 4s", err, took)
		}
		if got, want := in.console.String(), "xvsock: boot: store: not done within 3s: no answer\n"; got != want {
			t.Errorf("console = %q; want %q", got, want)
		}
	})
}

func TestBootPrefersTheStepsOwnWordsAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := newInit(t)
		err := in.Boot(t.Context(), []pid1.Step{{Name: "store", Run: func(ctx context.Context) error {
			<-ctx.Done()
			return fmt.Errorf("read domid: %w", ctx.Err())
		}}})
		want := "not done within 10s: read domid: context deadline exceeded"
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("Boot() = %v; want ... %s", err, want)
		}
	})
}

func TestAPanicInAStepIsItsError(t *testing.T) {
	in := newInit(t)
	err := in.Boot(t.Context(), []pid1.Step{{Name: "link", Run: func(context.Context) error { panic("index\nout of range") }}})
	if err == nil {
		t.Fatal("Boot() = nil; want the panic")
	}
	if got, want := in.console.String(), `xvsock: boot: link: panic: index\nout of range`+"\n"; got != want {
		t.Errorf("console = %q; want %q", got, want)
	}
	if !strings.Contains(in.log.String(), "boot_test.go") {
		t.Error("the log has no stack of the panic")
	}
}

func TestShutdownStopsInReverseWhatWasStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := newInit(t)
		stop := func(name string) func(context.Context) error {
			return func(context.Context) error { in.machine.note("stop", name); return nil }
		}
		failed := errors.New("refused")
		err := in.Boot(t.Context(), []pid1.Step{
			{Name: "store", Run: ok, Stop: stop("store")},
			{Name: "modules", Run: ok},
			{Name: "link", Run: ok, Stop: stop("link")},
			{Name: "services", Run: func(context.Context) error { return failed }, Stop: stop("services")},
		})
		if !errors.Is(err, failed) {
			t.Fatalf("Boot() = %v; want %v", err, failed)
		}
		if err := in.Shutdown(t.Context(), pid1.Reboot); err != nil {
			t.Fatal(err)
		}
		want := []string{"stop link", "stop store", "signal all SIGTERM", "signal all SIGKILL", "sync", "restart"}
		if got := in.machine.took(); !slices.Equal(got, want) {
			t.Errorf("the machine saw %q; want %q", got, want)
		}
	})
}

func TestShutdownIsNotHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ever := make(chan struct{})
		in := newInitOn(t, &machine{}, func(k *pid1.Kernel) { k.Sync = func() { <-ever } })
		hang := func(context.Context) error { <-ever; return nil }
		boom := func(context.Context) error { panic("boom") }
		var steps []pid1.Step
		for i := range 20 {
			steps = append(steps, pid1.Step{Name: fmt.Sprint("s", i), Run: ok, Stop: hang})
		}
		steps = append(steps, pid1.Step{Name: "last", Run: ok, Stop: boom})
		if err := in.Boot(t.Context(), steps); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := in.Shutdown(t.Context(), pid1.PowerOff); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("Shutdown() took %v; want at most 30s", took)
		}
		close(ever)
		calls := in.machine.took()
		if calls[len(calls)-1] != "power off" {
			t.Errorf("the machine saw %q; want a power off at the end", calls)
		}
		for _, want := range []string{"xvsock: stop: last: panic: boom", "xvsock: stop: s19: not done within 3s: no answer", "all stops together took more than 15s"} {
			if !strings.Contains(in.console.String(), want) {
				t.Errorf("console = %q; want %q in it", in.console, want)
			}
		}
	})
}

func TestShutdownInterruptsTheBoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := newInit(t)
		booted := make(chan error, 1)
		go func() {
			booted <- in.Boot(t.Context(), []pid1.Step{
				{Name: "first", Run: ok, Stop: func(context.Context) error { in.machine.note("stop first"); return nil }},
				{Name: "link", Timeout: time.Hour, Run: after(time.Hour)},
			})
		}()
		synctest.Wait()
		start := time.Now()
		if err := in.Shutdown(t.Context(), pid1.PowerOff); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("Shutdown() took %v; want it not to wait for the step", took)
		}
		if err := <-booted; !errors.Is(err, pid1.ErrStopping) {
			t.Errorf("Boot() = %v; want ErrStopping", err)
		}
		if calls := in.machine.took(); calls[0] != "stop first" {
			t.Errorf("the machine saw %q; want the first step stopped", calls)
		}
		if err := in.Boot(t.Context(), nil); !errors.Is(err, pid1.ErrStopping) {
			t.Errorf("Boot() after Shutdown() = %v; want ErrStopping", err)
		}
		if err := in.Shutdown(t.Context(), pid1.Reboot); !errors.Is(err, pid1.ErrStopping) {
			t.Errorf("second Shutdown() = %v; want ErrStopping", err)
		}
	})
}

func TestShutdownUnmountsDisksLastFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{}
		root := t.TempDir()
		write(t, root, map[string]string{"proc/mounts": "rootfs / rootfs rw 0 0\nproc /proc proc rw 0 0\n" +
			"/dev/xvda /data ext4 rw 0 0\n/dev/xvdb /data/a\\040b ext4 rw 0 0\ndevtmpfs /dev devtmpfs rw 0 0\n"})
		in := pid1.New(pid1.Options{Kernel: m.kernel(), Console: &console{}, Root: root})
		if err := in.Shutdown(t.Context(), pid1.PowerOff); err != nil {
			t.Fatal(err)
		}
		want := []string{"sync", "unmount /data/a b", "unmount /data", "power off"}
		if got := m.took(); !slices.Equal(got[2:], want) {
			t.Errorf("the machine saw %q; want %q at the end", got, want)
		}
	})
}

func TestFatalEndsTheDomainAsConfigured(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(*fixture)
		want string
		line string
	}{
		{"before the settings are read it powers off", func(*fixture) {}, "power off",
			"xvsock: fatal: broken; xvsock.panic=halt"},
		{"halt powers off", func(f *fixture) { f.OnFatal(config.Halt) }, "power off",
			"xvsock: fatal: broken; xvsock.panic=halt"},
		{"reboot restarts", func(f *fixture) { f.OnFatal(config.Reboot) }, "restart",
			"xvsock: fatal: broken; xvsock.panic=reboot"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var paused time.Duration // until the domain began to stop
				in := newInitOn(t, &machine{}, func(k *pid1.Kernel) {
					k.SignalAll = func(unix.Signal) error { paused = time.Since(start); return unix.ESRCH }
				})
				tt.set(in)
				in.Fatal(t.Context(), errors.New("broken"))
				calls := in.machine.took()
				if calls[len(calls)-1] != tt.want || in.console.lines()[0] != tt.line {
					t.Errorf("the machine saw %q, console %q", calls, in.console)
				}
				if paused < time.Second {
					t.Error("a domain that dies at every boot would spin")
				}
			})
		})
	}
}

func TestAPanicOnAGoroutineIsFatal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := newInit(t)
		in.OnFatal(config.Reboot)
		in.Go(t.Context(), func(context.Context) error { panic("boom") })
		synctest.Wait()
		time.Sleep(time.Minute)
		if got := in.console.lines()[0]; got != "xvsock: fatal: panic: boom; xvsock.panic=reboot" {
			t.Errorf("console = %q", got)
		}
		if calls := in.machine.took(); len(calls) == 0 || calls[len(calls)-1] != "restart" {
			t.Errorf("the machine saw %q; want a restart", calls)
		}
	})
}

func TestFatalNeverReturnsWhenTheKernelRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := newInitOn(t, &machine{}, func(k *pid1.Kernel) {
			k.Reboot = func(int) error { return errors.New("refused") }
		})
		ctx, cancel := context.WithCancel(t.Context())
		returned := make(chan struct{})
		go func() { in.Fatal(ctx, errors.New("broken")); close(returned) }()
		time.Sleep(time.Hour)
		select {
		case <-returned:
			t.Error("Fatal() returned; PID 1 would exit")
		default:
		}
		if !strings.Contains(in.console.String(), "xvsock: halt: refused\n") {
			t.Errorf("console = %q; want the refusal", in.console)
		}
		cancel()
		<-returned
	})
}

func TestTheRealKernelIsNotTouchedByAnotherProcess(t *testing.T) {
	k := pid1.Linux()
	if err := k.Reboot(-1); err == nil || !strings.Contains(err.Error(), "only PID 1") {
		t.Errorf("Reboot() = %v; want a refusal", err)
	}
	if err := k.SetClock(time.Now()); err == nil || !strings.Contains(err.Error(), "only PID 1") {
		t.Errorf("SetClock() = %v; want a refusal", err)
	}
	if err := k.SignalAll(0); err == nil || !strings.Contains(err.Error(), "only PID 1") {
		t.Errorf("SignalAll() = %v; want a refusal", err)
	}
}
