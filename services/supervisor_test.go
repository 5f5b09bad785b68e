package services_test

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/services"
)

type serviceFunc func(ctx context.Context, l net.Listener) error

func (f serviceFunc) Serve(ctx context.Context, l net.Listener) error { return f(ctx, l) }

func wait(ctx context.Context, _ net.Listener) error {
	<-ctx.Done()
	return ctx.Err()
}

func listenPipes(uint32) (net.Listener, error) { return newPipes(), nil }

// supervise runs s in the test's bubble until stop is called, which returns
// what Serve did.
func supervise(t *testing.T, s *services.Supervisor) (stop func() error) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx) }()
	synctest.Wait()
	return func() error {
		cancel()
		return <-ended
	}
}

func add(t *testing.T, s *services.Supervisor, name string, f serviceFunc) {
	t.Helper()
	if err := s.Add(services.Info{Name: name, Port: 1000}, f); err != nil {
		t.Fatal(err)
	}
}

func TestHealthFollowsTheService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := services.NewSupervisor(services.Config{Listen: listenPipes})
		crash := make(chan struct{})
		add(t, s, "web", func(ctx context.Context, l net.Listener) error {
			select {
			case <-crash:
				return errors.New("out of luck")
			case <-ctx.Done():
				return nil
			}
		})
		state := func() services.State { return s.Registry().State("web") }
		if state() != services.NotServing {
			t.Errorf("before Serve: %s", state())
		}
		stop := supervise(t, s)
		if state() != services.Serving {
			t.Errorf("running: %s", state())
		}
		crash <- struct{}{}
		synctest.Wait()
		if state() != services.NotServing {
			t.Errorf("after the crash: %s", state())
		}
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		if state() != services.Serving {
			t.Errorf("after the pause: %s", state())
		}
		if err := stop(); err != nil {
			t.Errorf("Serve = %v", err)
		}
		if state() != services.NotServing {
			t.Errorf("after the end: %s", state())
		}
		if st := s.Status()[0]; st.Starts != 2 || st.Panics != 0 || st.Err == nil || st.Err.Error() != "out of luck" {
			t.Errorf("Status = %+v", st)
		}
	})
}

func TestPanickingServiceIsRestartedSlowerAndSlower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := services.NewSupervisor(services.Config{Listen: listenPipes})
		var starts []time.Time
		add(t, s, "bad", func(context.Context, net.Listener) error {
			starts = append(starts, time.Now())
			panic("always")
		})
		var steady atomic.Int32
		add(t, s, "good", func(ctx context.Context, l net.Listener) error {
			steady.Add(1)
			return wait(ctx, l)
		})
		stop := supervise(t, s)
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := stop(); err != nil {
			t.Errorf("Serve = %v", err)
		}
		// 0.2+0.4+0.8+1.6+3.2 s, then 5 s each, a quarter less at most.
		if n := len(starts); n < 14 || n > 22 {
			t.Errorf("%d starts in a minute", n)
		}
		if gap := starts[1].Sub(starts[0]); gap < 150*time.Millisecond || gap > 200*time.Millisecond {
			t.Errorf("first pause %v; want about 0.2 s", gap)
		}
		if gap := starts[len(starts)-1].Sub(starts[len(starts)-2]); gap < 3750*time.Millisecond || gap > 5*time.Second {
			t.Errorf("last pause %v; want about 5 s", gap)
		}
		if steady.Load() != 1 {
			t.Errorf("the good service was started %d times", steady.Load())
		}
		for _, st := range s.Status() {
			if st.Name == "bad" && (st.Panics != uint64(len(starts)) || st.Err == nil) {
				t.Errorf("Status of the bad one = %+v; want %d panics", st, len(starts))
			}
		}
	})
}

func TestHealthForgivesOldFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := services.NewSupervisor(services.Config{Listen: listenPipes})
		var ended, started time.Time
		life := []time.Duration{0, 0, 0, 0, 0, 0, time.Minute, time.Hour}
		add(t, s, "web", func(ctx context.Context, _ net.Listener) error {
			started = time.Now()
			d := life[0]
			life = life[1:]
			select {
			case <-time.After(d):
			case <-ctx.Done():
			}
			if len(life) == 1 {
				ended = time.Now()
			}
			return nil
		})
		stop := supervise(t, s)
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if gap := started.Sub(ended); gap < 150*time.Millisecond || gap > 200*time.Millisecond {
			t.Errorf("pause after a minute of health %v; want about 0.2 s", gap)
		}
		stop()
	})
}

func TestListenerThatCannotBeMadeIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var free atomic.Bool
		s := services.NewSupervisor(services.Config{Listen: func(port uint32) (net.Listener, error) {
			if port != 1000 {
				t.Errorf("listener asked for port %d", port)
			}
			if !free.Load() {
				return nil, errors.New("address in use")
			}
			return newPipes(), nil
		}})
		add(t, s, "web", wait)
		stop := supervise(t, s)
		if got := s.Registry().State("web"); got != services.NotServing {
			t.Errorf("without a listener: %s", got)
		}
		free.Store(true)
		time.Sleep(time.Second)
		synctest.Wait()
		if got := s.Registry().State("web"); got != services.Serving {
			t.Errorf("with a listener: %s", got)
		}
		stop()
	})
}

func TestFinishedServiceIsNotStartedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := services.NewSupervisor(services.Config{Listen: listenPipes})
		add(t, s, "once", func(context.Context, net.Listener) error { return services.ErrFinished })
		stop := supervise(t, s)
		time.Sleep(time.Minute)
		synctest.Wait()
		if st := s.Status()[0]; st.Starts != 1 || st.State != services.NotServing {
			t.Errorf("Status = %+v; want one start", st)
		}
		stop()
	})
}

func TestStuckServiceDoesNotHoldTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := services.NewSupervisor(services.Config{Listen: listenPipes, StopTimeout: 2 * time.Second})
		release := make(chan struct{})
		add(t, s, "deaf", func(context.Context, net.Listener) error { <-release; return nil })
		add(t, s, "good", wait)
		stop := supervise(t, s)
		began := time.Now()
		err := stop()
		if !errors.Is(err, services.ErrStuck) {
			t.Errorf("Serve = %v; want ErrStuck", err)
		}
		if took := time.Since(began); took < 2*time.Second || took > 3*time.Second {
			t.Errorf("the end took %v; want the timeout of 2 s", took)
		}
		close(release)
	})
}

func TestRemove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := services.NewSupervisor(services.Config{Listen: listenPipes})
		var started atomic.Bool
		add(t, s, "early", func(ctx context.Context, l net.Listener) error {
			started.Store(true)
			return wait(ctx, l)
		})
		if err := s.Remove("early"); err != nil {
			t.Errorf("Remove before Serve = %v", err)
		}
		stop := supervise(t, s)
		if started.Load() {
			t.Error("a service removed before Serve was started")
		}
		add(t, s, "late", wait)
		synctest.Wait()
		if got := s.Registry().State("late"); got != services.Serving {
			t.Errorf("added while running: %s", got)
		}
		if err := s.Remove("late"); err != nil {
			t.Errorf("Remove = %v", err)
		}
		if got := s.Registry().State("late"); got != services.Unknown {
			t.Errorf("removed: %s", got)
		}
		if err := s.Remove("late"); !errors.Is(err, services.ErrNotFound) {
			t.Errorf("Remove again = %v; want ErrNotFound", err)
		}
		stop()
	})
}

func TestRemovedServiceThatHangsDoesNotSpeakForItsSuccessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := services.NewSupervisor(services.Config{Listen: listenPipes})
		release := make(chan struct{})
		add(t, s, "web", func(context.Context, net.Listener) error { <-release; return nil })
		stop := supervise(t, s)
		if err := s.Remove("web"); !errors.Is(err, services.ErrStuck) {
			t.Errorf("Remove = %v; want ErrStuck", err)
		}
		add(t, s, "web", wait)
		synctest.Wait()
		close(release)
		synctest.Wait()
		if got := s.Registry().State("web"); got != services.Serving {
			t.Errorf("the successor is %s after its forerunner ended", got)
		}
		stop()
	})
}
