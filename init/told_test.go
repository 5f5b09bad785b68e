package pid1_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/config"
	pid1 "xvsock/init"
)

// toolstack collects what it is told, each line after a time.
type toolstack struct {
	takes time.Duration
	first func() // is called before the first line is taken

	mu    sync.Mutex
	lines []string
	busy  bool
	mixed bool // two calls were made at once
}

func (s *toolstack) tell(kind pid1.TellKind, text string) {
	s.mu.Lock()
	s.mixed = s.mixed || s.busy
	s.busy = true
	first := s.first
	s.first = nil
	s.mu.Unlock()
	if first != nil {
		first()
	}
	time.Sleep(s.takes)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = false
	s.lines = append(s.lines, map[pid1.TellKind]string{
		pid1.TellState: "state ", pid1.TellProblem: "problem ", pid1.TellFailure: "failure ",
	}[kind]+text)
}

func (s *toolstack) told() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lines)
}

func (s *toolstack) options(o *pid1.Options) { o.Tell = s.tell }

func TestTheToolstackIsToldHowFarTheDomainIs(t *testing.T) {
	broken := errors.New("no such device")
	for _, tt := range []struct {
		name string
		live func(*fixture, context.Context)
		want []string
	}{
		{"a life", func(in *fixture, ctx context.Context) {
			_ = in.Boot(ctx, []pid1.Step{{Name: "link", Run: ok}})
			_ = in.Shutdown(ctx, pid1.PowerOff)
		}, []string{"state booting", "state ready", "state stopping (halt)"}},
		{"a boot that fails", func(in *fixture, ctx context.Context) {
			in.OnFatal(config.Reboot)
			in.Fatal(ctx, in.Boot(ctx, []pid1.Step{{Name: "link", Run: func(context.Context) error { return broken }}}))
		}, []string{"state booting", "failure boot: link: no such device", "state failed", "state stopping (reboot)"}},
		{"a failure of a domain that was ready", func(in *fixture, ctx context.Context) {
			_ = in.Boot(ctx, nil)
			in.Fatal(ctx, errors.New("a\nb"))
		}, []string{"state booting", "state ready", `failure a\nb`, "state failed", "state stopping (halt)"}},
		{"a shutdown during the boot", func(in *fixture, ctx context.Context) {
			go func() { time.Sleep(time.Second); _ = in.Shutdown(ctx, pid1.Reboot) }()
			_ = in.Boot(ctx, []pid1.Step{{Name: "link", Run: after(5 * time.Second)}})
			time.Sleep(time.Minute)
		}, []string{"state booting", "state stopping (reboot)"}},
		{"a shutdown during a last step that does not notice", func(in *fixture, ctx context.Context) {
			_ = in.Boot(ctx, []pid1.Step{{Name: "link", Run: func(context.Context) error {
				go in.Shutdown(ctx, pid1.Reboot)
				time.Sleep(10 * time.Millisecond)
				return nil
			}}})
			time.Sleep(time.Minute)
		}, []string{"state booting", "state stopping (reboot)"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &toolstack{}
				in := newInitAs(t, s.options)
				tt.live(in, t.Context())
				if got := s.told(); !slices.Equal(got, tt.want) {
					t.Errorf("told %q; want %q", got, tt.want)
				}
			})
		})
	}
}

func TestASlowToolstackKeepsNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &toolstack{takes: 300 * time.Millisecond}
		stopped := false
		in := newInitAs(t, s.options)
		start := time.Now()
		err := in.Boot(t.Context(), []pid1.Step{{Name: "store", Run: ok, Stop: func(context.Context) error {
			stopped = true
			if got := s.told(); len(got) != 3 {
				t.Errorf("told %q before the stops; want all three states", got)
			}
			return nil
		}}})
		if took := time.Since(start); err != nil || took > 0 {
			t.Errorf("Boot() = %v after %v; want it not to wait", err, took)
		}
		if err := in.Shutdown(t.Context(), pid1.PowerOff); err != nil || !stopped || s.mixed {
			t.Errorf("Shutdown() = %v, stopped %v, calls at once %v", err, stopped, s.mixed)
		}
	})
}

func TestAToolstackThatHangsIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ever := make(chan struct{})
		s := &toolstack{first: func() { <-ever }}
		var waited time.Duration
		start := time.Now()
		in := newInitAs(t, s.options)
		_ = in.Boot(t.Context(), []pid1.Step{{Name: "store", Run: ok, Stop: func(context.Context) error {
			waited = time.Since(start)
			return nil
		}}})
		if err := in.Shutdown(t.Context(), pid1.PowerOff); err != nil || waited > 2*time.Second {
			t.Errorf("Shutdown() = %v, the first stop after %v", err, waited)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := in.Told(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Told() = %v; want its deadline", err)
		}
		close(ever)
		if err := in.Told(t.Context()); err != nil || len(s.told()) != 3 {
			t.Errorf("Told() = %v, told %q; want the rest", err, s.told())
		}
	})
}

func TestWhatWaitsToBeToldIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ever := make(chan struct{})
		s := &toolstack{first: func() { <-ever }}
		in := newInitAs(t, s.options)
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 1000 {
			go in.Fatal(ctx, fmt.Errorf("failure %d", i))
			synctest.Wait()
		}
		close(ever)
		_ = in.Told(t.Context())
		got := s.told()
		if len(got) > 100 || got[len(got)-2] != "failure failure 999" {
			t.Errorf("told %d lines, the last %q; want the last ones, and few", len(got), got[max(0, len(got)-2):])
		}
		cancel()
		time.Sleep(time.Minute)
	})
}

func TestAPanicInTellCostsItsLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &toolstack{first: func() { panic("boom") }}
		in := newInitAs(t, s.options)
		if err := in.Boot(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		_ = in.Told(t.Context())
		if got := s.told(); !slices.Equal(got, []string{"state ready"}) {
			t.Errorf("told %q; want what came after the panic", got)
		}
		if in.log.String() == "" {
			t.Error("the log has no stack of the panic")
		}
	})
}
