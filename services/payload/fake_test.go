package payload_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"xvsock/services"
	"xvsock/services/payload"
)

// fakes are programs that live for a time, and say nothing. There is no process.
type fakes struct {
	life time.Duration

	mu      sync.Mutex
	started []time.Time
	signals []unix.Signal
}

type fake struct {
	all  *fakes
	once sync.Once
	done chan struct{}
}

func (f *fakes) Start(*exec.Cmd) (payload.Process, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.started = append(f.started, time.Now())
	p := &fake{all: f, done: make(chan struct{})}
	time.AfterFunc(f.life, p.end)
	return p, nil
}

func (p *fake) end()                  { p.once.Do(func() { close(p.done) }) }
func (p *fake) PID() int              { return 0 }
func (p *fake) Done() <-chan struct{} { return p.done }

func (p *fake) Wait(context.Context) error { return errors.New("exit status 9") }

func (p *fake) Signal(s unix.Signal) error {
	select {
	case <-p.done:
		return os.ErrProcessDone
	default:
	}
	p.all.mu.Lock()
	defer p.all.mu.Unlock()
	p.all.signals = append(p.all.signals, s)
	if s == unix.SIGKILL {
		p.end()
	}
	return nil
}

// silent is a listener that nobody connects to.
type silent struct {
	closed chan struct{}
	once   sync.Once
}

func (s *silent) Accept() (net.Conn, error) { <-s.closed; return nil, net.ErrClosed }
func (s *silent) Close() error              { s.once.Do(func() { close(s.closed) }); return nil }
func (s *silent) Addr() net.Addr            { return &net.UnixAddr{} }

// superviseOnce runs an exec-once service of fakes for a time.
func superviseOnce(t *testing.T, f *fakes, d time.Duration) (*services.Supervisor, *record, error) {
	log := &record{}
	logger := slog.New(slog.NewTextHandler(log, nil))
	s := services.NewSupervisor(services.Config{Log: logger, Listen: func(uint32) (net.Listener, error) {
		return &silent{closed: make(chan struct{})}, nil
	}})
	c := payload.Config{Name: "kv", Port: 5000, Programs: f, Dir: t.TempDir(), Log: logger}
	if err := s.Add(services.Info{Name: "kv", Port: 5000}, payload.NewOnce(c, []string{"/proc/self/exe"})); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return s, log, s.Serve(ctx)
}

func TestAPayloadThatDiesAtOnceIsTriedSlowerAndSlower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakes{life: 12 * time.Millisecond}
		s, log, err := superviseOnce(t, f, 10*time.Minute)
		if err != nil {
			t.Error(err)
		}
		// Each lives on for a moment less than it would take to be offered. Five in the first six seconds, then one every 3.75 to 5 s.
		if n := len(f.started); n < 120 || n > 165 {
			t.Errorf("%d starts in ten minutes", n)
		}
		if err := s.Status()[0].Err; err == nil || err.Error() != "/proc/self/exe ended after 12ms: exit status 9" {
			t.Errorf("Err = %v", err)
		}
		if n := log.count("service started"); n != 0 {
			t.Errorf("offered %d times", n)
		}
		if n := log.count("service cannot start", "ended after 12ms: exit status 9"); n < 10 || n > 17 {
			t.Errorf("%d warnings in ten minutes; want one a minute after the first", n)
		}
	})
}

func TestAStubbornPayloadGetsTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakes{life: time.Hour}
		began := time.Now()
		if _, _, err := superviseOnce(t, f, time.Minute); err != nil {
			t.Error(err)
		}
		if took := time.Since(began) - time.Minute; took != 2*time.Second {
			t.Errorf("the end took %v; want 2 s", took)
		}
		if len(f.signals) != 2 || f.signals[0] != unix.SIGTERM || f.signals[1] != unix.SIGKILL {
			t.Errorf("signals %v", f.signals)
		}
	})
}
