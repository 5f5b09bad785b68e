package pid1_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"xvsock/config"
	pid1 "xvsock/init"
)

// ask is one wish of the toolstack, at a time after the first.
type ask struct {
	at  time.Duration
	how pid1.How
}

// However often the toolstack asks, the first wish is done, once and in full.
func TestTheFirstWishCounts(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		name string
		live func(*fixture, context.Context) // until the first wish
		asks []ask
		end  string
		took time.Duration // from the first wish on
	}{
		{"xl shutdown", booted, []ask{{0, pid1.PowerOff}}, "power off", 5 * s},
		{"xl reboot", booted, []ask{{0, pid1.Reboot}}, "restart", 5 * s},
		{"xl shutdown, twice", booted, []ask{{0, pid1.PowerOff}, {s, pid1.PowerOff}}, "power off", 5 * s},
		{"xl shutdown, often", booted, []ask{{0, pid1.PowerOff}, {0, pid1.PowerOff}, {s, pid1.PowerOff}, {4 * s, pid1.PowerOff}}, "power off", 5 * s},
		{"xl reboot after xl shutdown", booted, []ask{{0, pid1.PowerOff}, {s, pid1.Reboot}}, "power off", 5 * s},
		{"xl shutdown after xl reboot", booted, []ask{{0, pid1.Reboot}, {s, pid1.PowerOff}}, "restart", 5 * s},
		{"xl shutdown before the boot", func(*fixture, context.Context) {}, []ask{{0, pid1.PowerOff}}, "power off", 3 * s},
		{"xl shutdown during the boot", func(in *fixture, ctx context.Context) {
			go in.Boot(ctx, []pid1.Step{slowStop("store"), {Name: "link", Run: after(9 * s)}})
		}, []ask{{0, pid1.PowerOff}}, "power off", 5 * s},
		{"xl shutdown during a step that hangs", func(in *fixture, ctx context.Context) {
			go in.Boot(ctx, []pid1.Step{slowStop("store"), {Name: "link", Run: func(context.Context) error {
				time.Sleep(time.Minute)
				return nil
			}}})
		}, []ask{{0, pid1.PowerOff}}, "power off", 5*s + 100*time.Millisecond},
		{"xl shutdown while a failure can be read", func(in *fixture, ctx context.Context) {
			booted(in, ctx)
			in.OnFatal(config.Reboot)
			go in.Fatal(ctx, errors.New("broken"))
			time.Sleep(s)
		}, []ask{{0, pid1.PowerOff}}, "power off", 5 * s},
		{"xl reboot while a failure powers off", func(in *fixture, ctx context.Context) {
			booted(in, ctx)
			go in.Fatal(ctx, errors.New("broken"))
			time.Sleep(3 * s)
		}, []ask{{0, pid1.Reboot}}, "power off", 4 * s},
		{"a failure while the domain stops", func(in *fixture, ctx context.Context) {
			booted(in, ctx)
			in.OnFatal(config.Reboot)
			go func() { time.Sleep(s); in.Fatal(ctx, errors.New("broken")) }()
		}, []ask{{0, pid1.PowerOff}}, "power off", 5 * s},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var ended time.Time
				in := newInitAs(t, func(o *pid1.Options) {
					reboot := o.Kernel.Reboot
					o.Kernel.Reboot = func(cmd int) error { ended = time.Now(); return reboot(cmd) }
				})
				tt.live(in, t.Context())
				synctest.Wait()
				start := time.Now()
				for _, a := range tt.asks {
					go func() { time.Sleep(a.at); in.Shutdown(t.Context(), a.how) }()
					synctest.Wait()
				}
				time.Sleep(2 * time.Minute)
				calls := in.machine.took()
				var ends []string
				for _, c := range calls {
					if c == "power off" || c == "restart" {
						ends = append(ends, c)
					}
				}
				if !slices.Equal(ends, []string{tt.end}) || calls[len(calls)-1] != tt.end {
					t.Errorf("the machine saw %q; want one %s at the end", calls, tt.end)
				}
				if took := ended.Sub(start); took != tt.took {
					t.Errorf("it took %v; want %v", took, tt.took)
				}
			})
		})
	}
}

// slowStop is a step that stops within its deadline, but takes a while.
func slowStop(name string) pid1.Step {
	return pid1.Step{Name: name, Run: ok, Stop: func(ctx context.Context) error { return after(2 * time.Second)(ctx) }}
}

func booted(in *fixture, ctx context.Context) {
	_ = in.Boot(ctx, []pid1.Step{slowStop("store")})
}

// A service ends its programs while its links still are, and what is left of
// them is ended after all stops.
func TestProgramsOfAServiceEndBeforeTheLinksGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := newInit(t)
		err := in.Boot(t.Context(), []pid1.Step{
			{Name: "store", Run: ok, Stop: func(context.Context) error { in.machine.note("store closed"); return nil }},
			{Name: "link", Run: ok, StopTimeout: 10 * time.Second, Stop: func(ctx context.Context) error {
				in.machine.note("payload SIGTERM")
				if err := after(5 * time.Second)(ctx); err != nil {
					return err
				}
				in.machine.note("payload SIGKILL")
				in.machine.note("links closed")
				return nil
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := in.Shutdown(t.Context(), pid1.PowerOff); err != nil {
			t.Fatal(err)
		}
		want := []string{"payload SIGTERM", "payload SIGKILL", "links closed", "store closed",
			"signal all SIGTERM", "signal all SIGKILL", "sync", "power off"}
		if got := in.machine.took(); !slices.Equal(got, want) {
			t.Errorf("the machine saw %q; want %q", got, want)
		}
	})
}

// The longest shutdown of all: every part takes what it may.
func TestAShutdownTakesLessThanHalfAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ever := make(chan struct{})
		defer close(ever)
		hang := func(context.Context) error { <-ever; return nil }
		console := &stuck{open: make(chan struct{})}
		defer close(console.open)
		in := newInitAs(t, func(o *pid1.Options) {
			o.Console = pid1.NewConsole(console)
			o.Tell = func(pid1.TellKind, string) { <-ever }
			o.Reaper = hungReaper{ever}
			o.Kernel.Sync = func() { <-ever }
		})
		steps := []pid1.Step{{Name: "link", Run: ok, Stop: hang, StopTimeout: 10 * time.Second}}
		for range 8 {
			steps = append(steps, pid1.Step{Name: "more", Run: ok, Stop: hang})
		}
		steps = append(steps, pid1.Step{Name: "last", Run: hang, Timeout: time.Hour})
		go in.Boot(t.Context(), steps)
		synctest.Wait()
		start := time.Now()
		if err := in.Shutdown(t.Context(), pid1.PowerOff); err != nil || time.Since(start) > 30*time.Second {
			t.Errorf("Shutdown() = %v after %v; want at most 30s", err, time.Since(start))
		}
		if calls := in.machine.took(); calls[len(calls)-1] != "power off" {
			t.Errorf("the machine saw %q; want a power-off", calls)
		}
	})
}

// hungReaper is a reaper that a program being started holds for ever.
type hungReaper struct{ ever chan struct{} }

func (h hungReaper) Run(context.Context) error   { <-h.ever; return nil }
func (h hungReaper) Drain(context.Context) error { <-h.ever; return nil }
func (h hungReaper) OnTerminal(string, []string) (<-chan struct{}, error) {
	<-h.ever
	return nil, nil
}

// sleeper is what is left of the programs of a domain.
type sleeper struct {
	ends unix.Signal // the one that it ends by; 0: none, as of a process that waits for a disk
	gone chan struct{}
}

func (s *sleeper) Run(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
func (s *sleeper) Drain(ctx context.Context) error {
	select {
	case <-s.gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
func (s *sleeper) OnTerminal(string, []string) (<-chan struct{}, error) { return nil, unix.ENOENT }

func TestProgramsThatAreLeft(t *testing.T) {
	for _, tt := range []struct {
		name string
		ends unix.Signal
		want string
		took time.Duration
	}{
		{"one that ends when asked", unix.SIGTERM, "signal all SIGTERM, sync, power off", 0},
		{"one that ignores SIGTERM", unix.SIGKILL, "signal all SIGTERM, signal all SIGKILL, sync, power off", 2 * time.Second},
		{"one that waits for a disk and cannot be killed", 0, "signal all SIGTERM, signal all SIGKILL, sync, power off", 3 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &sleeper{ends: tt.ends, gone: make(chan struct{})}
				in := newInitAs(t, func(o *pid1.Options) {
					o.Reaper = p
					signal := o.Kernel.SignalAll
					o.Kernel.SignalAll = func(sig unix.Signal) error {
						if sig == p.ends {
							close(p.gone)
						}
						return signal(sig)
					}
				})
				start := time.Now()
				if err := in.Shutdown(t.Context(), pid1.PowerOff); err != nil || time.Since(start) != tt.took {
					t.Errorf("Shutdown() = %v after %v; want %v", err, time.Since(start), tt.took)
				}
				if got := strings.Join(in.machine.took(), ", "); got != tt.want {
					t.Errorf("the machine saw %s; want %s", got, tt.want)
				}
			})
		})
	}
}
