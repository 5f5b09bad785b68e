package pid1_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"xvsock/config"
	pid1 "xvsock/init"
)

// programs stands for a Reaper. What it starts ends when the test says so, or
// when every process is killed.
type programs struct {
	refuse error // what OnTerminal returns
	deaf   bool  // nothing ends it but the test

	mu      sync.Mutex
	started []string // how each was called, without the root
	root    string
	ended   chan struct{} // nil when none runs
}

func (p *programs) Run(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func (p *programs) Drain(ctx context.Context) error {
	p.mu.Lock()
	ended := p.ended
	p.mu.Unlock()
	if ended == nil {
		return nil
	}
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *programs) OnTerminal(path string, argv []string) (<-chan struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	line := strings.Join(append([]string{path}, argv...), " ")
	p.started = append(p.started, strings.ReplaceAll(line, p.root, ""))
	if p.refuse != nil {
		return nil, p.refuse
	}
	p.ended = make(chan struct{})
	return p.ended, nil
}

func (p *programs) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended != nil {
		close(p.ended)
		p.ended = nil
	}
}

func (p *programs) called() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.started)
}

// newShell returns a PID 1 that gives its console to a shell when it dies. The
// image holds the files.
func newShell(t *testing.T, p *programs, files ...string) *fixture {
	in := newInitAs(t, func(o *pid1.Options) {
		for _, f := range files {
			write(t, o.Root, map[string]string{f: ""})
		}
		p.root = o.Root
		if !p.none() {
			o.Reaper = p
		}
		signal := o.Kernel.SignalAll
		o.Kernel.SignalAll = func(sig unix.Signal) error {
			if sig == unix.SIGKILL && !p.deaf {
				p.end()
			}
			return signal(sig)
		}
	})
	in.OnFatal(config.Shell)
	return in
}

// errNobody makes newShell leave the programs out.
var errNobody = errors.New("nobody")

func (p *programs) none() bool { return p.refuse == errNobody }

const (
	brokenLine = "xvsock: fatal: broken; xvsock.panic=shell"
	shellLine  = "xvsock: a shell on the console; the domain powers off when it ends"
	endedLine  = "xvsock: the shell has ended"
)

func TestFatalGivesTheConsoleToAShell(t *testing.T) {
	for _, tt := range []struct {
		name   string
		files  []string
		refuse error
		call   []string // what is started
		lines  []string // before the domain stops
	}{
		{"the image has a shell", []string{"bin/sh", "bin/busybox"}, nil,
			[]string{"/dev/console /bin/sh"}, []string{brokenLine, shellLine, endedLine}},
		{"the image has only busybox", []string{"bin/busybox"}, nil,
			[]string{"/dev/console /bin/busybox sh"}, []string{brokenLine, shellLine, endedLine}},
		{"the image has none", nil, nil,
			nil, []string{brokenLine, "xvsock: no shell: neither /bin/sh nor /bin/busybox is in the image; the domain powers off"}},
		{"the shell cannot be started", []string{"bin/sh"}, unix.ENOEXEC,
			[]string{"/dev/console /bin/sh"}, []string{brokenLine, shellLine, "xvsock: no shell: start /bin/sh: exec format error; the domain powers off"}},
		{"nobody waits for programs", []string{"bin/sh"}, errNobody,
			nil, []string{brokenLine, "xvsock: no shell: nobody waits for programs; the domain powers off"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &programs{refuse: tt.refuse}
				in := newShell(t, p, tt.files...)
				ended := make(chan struct{})
				go func() { defer close(ended); in.Fatal(t.Context(), errors.New("broken")) }()
				time.Sleep(time.Second)
				if calls := in.machine.took(); len(calls) > 0 {
					t.Errorf("the machine saw %q before anybody could read the console", calls)
				}
				if slices.Contains(tt.lines, endedLine) {
					time.Sleep(24 * time.Hour)
					if calls := in.machine.took(); len(calls) > 0 {
						t.Errorf("the machine saw %q while the shell ran", calls)
					}
				}
				p.end()
				<-ended
				if got := p.called(); !slices.Equal(got, tt.call) {
					t.Errorf("started %q; want %q", got, tt.call)
				}
				lines := strings.Split(strings.ReplaceAll(in.console.String(), p.root, ""), "\n")
				if n := len(tt.lines); !slices.Equal(lines[:n], tt.lines) || lines[n] != "xvsock: stopping (halt)" {
					t.Errorf("console %q; want %q and a power-off", lines, tt.lines)
				}
				if calls := in.machine.took(); calls[len(calls)-1] != "power off" {
					t.Errorf("the machine saw %q; want a power-off", calls)
				}
			})
		})
	}
}

// What happens while a shell runs comes in order: nothing but the toolstack ends
// it, and the domain ends once.
func TestWhileAShellRuns(t *testing.T) {
	for _, tt := range []struct {
		name    string
		happens func(*testing.T, *fixture, *programs)
		end     string
	}{
		{"another failure is said and waits", func(t *testing.T, in *fixture, p *programs) {
			go in.Fatal(t.Context(), errors.New("and more"))
			time.Sleep(time.Hour)
			if calls := in.machine.took(); len(calls) > 0 || len(p.called()) != 1 {
				t.Errorf("the machine saw %q and %q was started; want the one shell left alone", calls, p.called())
			}
			if !strings.HasSuffix(in.console.String(), "xvsock: fatal: and more; xvsock.panic=shell\n") {
				t.Errorf("console %q; want the other failure", in.console)
			}
			p.end()
		}, "power off"},
		{"a panic is said and waits", func(t *testing.T, in *fixture, p *programs) {
			in.Go(t.Context(), func(context.Context) error { panic("boom") })
			time.Sleep(time.Hour)
			if calls := in.machine.took(); len(calls) > 0 {
				t.Errorf("the machine saw %q; want the shell left alone", calls)
			}
			p.end()
		}, "power off"},
		{"a shutdown ends it", func(t *testing.T, in *fixture, p *programs) {
			go in.Shutdown(t.Context(), pid1.PowerOff)
		}, "power off"},
		{"a reboot ends it", func(t *testing.T, in *fixture, p *programs) {
			go in.Shutdown(t.Context(), pid1.Reboot)
		}, "restart"},
		{"a shutdown does not wait for one that cannot be killed", func(t *testing.T, in *fixture, p *programs) {
			p.deaf = true
			start := time.Now()
			if err := in.Shutdown(t.Context(), pid1.PowerOff); err != nil || time.Since(start) > 30*time.Second {
				t.Errorf("Shutdown() = %v after %v", err, time.Since(start))
			}
			p.end()
		}, "power off"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &programs{}
				in := newShell(t, p, "bin/sh")
				go in.Fatal(t.Context(), errors.New("broken"))
				synctest.Wait()
				tt.happens(t, in, p)
				time.Sleep(time.Hour)
				calls := in.machine.took()
				if n := len(calls); n == 0 || calls[n-1] != tt.end {
					t.Errorf("the machine saw %q; want %s at the end", calls, tt.end)
				}
				if n := strings.Count(strings.Join(calls, "; "), "sync"); n != 1 {
					t.Errorf("the machine saw %q; want one end", calls)
				}
			})
		})
	}
}

func TestNoShellWhileTheDomainStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &programs{}
		in := newShell(t, p, "bin/sh")
		err := in.Boot(t.Context(), []pid1.Step{{Name: "link", Run: ok, Stop: func(context.Context) error {
			go in.Fatal(t.Context(), errors.New("broken"))
			time.Sleep(time.Second)
			return nil
		}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := in.Shutdown(t.Context(), pid1.Reboot); err != nil {
			t.Fatal(err)
		}
		if calls := in.machine.took(); len(p.called()) > 0 || calls[len(calls)-1] != "restart" {
			t.Errorf("started %q, the machine saw %q; want the restart alone", p.called(), calls)
		}
		if !strings.Contains(in.console.String(), "fatal: broken") {
			t.Errorf("console %q; want the failure", in.console)
		}
	})
}
