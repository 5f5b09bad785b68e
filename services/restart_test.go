package services_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/services"
)

func TestRestart(t *testing.T) {
	for name, tt := range map[string]struct {
		service serviceFunc
		after   time.Duration
	}{
		"a service that runs":            {wait, time.Second},
		"a service that waits out pause": {func(context.Context, net.Listener) error { return errors.New("no") }, time.Minute},
		"a service that has finished":    {func(context.Context, net.Listener) error { return services.ErrFinished }, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := services.NewSupervisor(services.Config{Listen: listenPipes})
				add(t, s, "web", tt.service)
				stop := supervise(t, s)
				time.Sleep(tt.after)
				synctest.Wait()
				before := s.Status()[0]
				if err := s.Restart("web"); err != nil {
					t.Error(err)
				}
				synctest.Wait()
				after := s.Status()[0]
				if after.Starts != before.Starts+1 || after.State != before.State {
					t.Errorf("%+v, then %+v; want one start more at once", before, after)
				}
				if after.State == services.Serving && after.Err != nil {
					t.Errorf("Err = %v after a restart that was asked for", after.Err)
				}
				if err := s.Restart("none"); !errors.Is(err, services.ErrNotFound) {
					t.Errorf("Restart of what is not there = %v", err)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestRestartOfAServiceThatHangsIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, text := record()
		s := services.NewSupervisor(services.Config{Listen: listenPipes, Log: log, StopTimeout: 2 * time.Second})
		release := make(chan struct{})
		add(t, s, "web", func(ctx context.Context, _ net.Listener) error { <-release; return nil })
		stop := supervise(t, s)
		for range 10 {
			if err := s.Restart("web"); err != nil {
				t.Error(err)
			}
		}
		if got := s.Registry().State("web"); got != services.NotServing {
			t.Errorf("while it ends: %s", got)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if n := strings.Count(text.String(), "service does not stop"); n != 1 {
			t.Errorf("said %d times", n)
		}
		release <- struct{}{}
		synctest.Wait()
		if st := s.Status()[0]; st.Starts != 2 || st.State != services.Serving {
			t.Errorf("Status = %+v; want the second life", st)
		}
		close(release)
		stop()
	})
}

// counting is a service with an acceptor.
type counting struct{ services.Acceptor }

func TestStatusTellsConnectionsAndTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		s := services.NewSupervisor(services.Config{Listen: func(uint32) (net.Listener, error) { return l, nil }})
		added := time.Now()
		svc := &counting{services.Acceptor{Identify: identify, Handle: func(_ context.Context, c net.Conn, who services.Caller) {
			if who.Domain == 66 {
				panic("found a bug")
			}
			io.Copy(io.Discard, c)
		}}}
		s.Add(services.Info{Name: "web", Port: 1000}, svc)
		if st := s.Status()[0]; !st.Since.Equal(added) {
			t.Errorf("Since = %v; want when it was added", st.Since)
		}
		time.Sleep(time.Minute)
		stop := supervise(t, s)
		started := time.Now()
		time.Sleep(time.Minute)
		a := l.dial(1)
		defer l.dial(2).Close()
		closedAtOnce(l.dial(66))
		closedAtOnce(l.dial(0xFFFF))
		a.Close()
		synctest.Wait()
		st := s.Status()[0]
		if !st.Since.Equal(started) || st.Open != 1 || st.Served != 3 || st.Refused != 1 || st.Panics != 1 || st.Starts != 1 {
			t.Errorf("Status = %+v; want 1 open, 3 served, 1 refused, 1 panic, since %v", st, started)
		}
		stop()
	})
}
