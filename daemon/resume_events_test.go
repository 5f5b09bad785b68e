package daemon_test

import (
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/daemon"
	"xvsock/evtchn"
	"xvsock/sim"
	"xvsock/xenstore"
)

// ear is the event channels of one process, without a daemon.
type ear struct {
	*daemon.Events
	t     *testing.T
	dom   *sim.Domain
	store *xenstore.Client
	log   strings.Builder
	kept  atomic.Int64
}

// newEar opens channels of dom over conn, or over a connection of their own. keep is how
// long keeping takes.
func newEar(t *testing.T, proc *sim.Process, conn io.ReadWriteCloser, keep time.Duration) *ear {
	t.Helper()
	if conn == nil {
		conn = proc.Store()
	}
	e := &ear{t: t, dom: proc.Domain(), store: xenstore.New(conn, xenstore.Config{Device: true})}
	var err error
	e.Events, err = daemon.OpenEvents(t.Context(), daemon.EventsConfig{
		Store: e.store, Log: slog.New(slog.NewTextHandler(&e.log, nil)),
		Open: func() (evtchn.Device, error) { return proc.OpenEvents(), nil },
		Keep: func(d evtchn.Device) error {
			time.Sleep(keep)
			e.kept.Add(1)
			d.(*sim.Events).Keep()
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// bind binds a channel.
func (e *ear) bind() evtchn.Channel {
	e.t.Helper()
	c, err := e.Unbound(0)
	if err != nil {
		e.t.Fatal(err)
	}
	return c
}

// end closes it all, and the process.
func (e *ear) end() {
	e.t.Helper()
	if err := errors.Join(e.Close(), e.store.Close()); err != nil {
		e.t.Error(err)
	}
}

// A connection that ended can have ended because of a restore, of which nobody will
// ever tell then. PID 1's ends before its event channels do: that is nothing to warn of.
func TestWithoutXenstoreTheChannelsAreAbandonedAndKept(t *testing.T) {
	for name, restore := range map[string]bool{"by a restore": true, "by itself": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t)
				dom := h.Create(sim.DomainConfig{Name: "a"})
				proc := dom.NewProcess()
				e := newEar(t, proc, nil, 0)
				open := e.bind()
				e.bind().Close()
				e.store.Close()
				if restore {
					if err := errors.Join(dom.Suspend(), dom.Resume()); err != nil {
						t.Fatal(err)
					}
				}
				<-open.Event()
				if err := open.Notify(); !errors.Is(err, evtchn.ErrAbandoned) {
					t.Errorf("Notify: %v", err)
				}
				time.Sleep(time.Minute)
				e.end()
				if e.kept.Load() != 1 {
					t.Errorf("%d devices are kept", e.kept.Load())
				}
				if n := dom.Ports(); !restore && n != 2 { // else it would be misuse
					t.Errorf("%d ports are left", n)
				}
				if e.log.Len() != 0 {
					t.Errorf("log: %s", e.log.String())
				}
				proc.Kill()
			})
		})
	}
}

// The end of the process does not unbind what it cannot tell the age of.
func TestACloseThatXenstoreDoesNotAnswerUnbindsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		dom := h.Create(sim.DomainConfig{Name: "a"})
		proc := dom.NewProcess()
		slow := newSlowEvents(proc.Store(), time.Hour)
		e := newEar(t, proc, slow, 0)
		e.bind()
		e.bind().Close()
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if dom.Ports() != 2 || e.kept.Load() != 1 {
			t.Errorf("%d ports are left, %d devices kept", dom.Ports(), e.kept.Load())
		}
		e.store.Close()
		proc.Kill()
	})
}

// The kernel's thread may have had the answer in its queue when the domain was
// suspended, and hand it on ahead of the news.
func TestTheNewsOfAResumeMayComeAfterWhatXenstoreTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		dom := h.Create(sim.DomainConfig{Name: "a"})
		proc := dom.NewProcess()
		e := newEar(t, proc, nil, 0)
		e.bind().Close()
		time.Sleep(1050 * time.Millisecond)
		if dom.Ports() != 1 {
			t.Error("the port was unbound as soon as xenstore had told something")
		}
		if err := errors.Join(dom.Suspend(), dom.Resume()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second) // misuse fails the test at its end
		e.end()
		proc.Kill()
	})
}

// What xenstore tells by itself goes another way than its answers, and can be late.
func TestAPortIsNotUnboundBeforeXenstoreHasToldSomething(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		dom := h.Create(sim.DomainConfig{Name: "a"})
		proc := dom.NewProcess()
		e := newEar(t, proc, newSlowEvents(proc.Store(), 3*time.Second), 0)
		time.Sleep(time.Minute)
		e.bind().Close()
		time.Sleep(500 * time.Millisecond)
		if err := errors.Join(dom.Suspend(), dom.Resume()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second) // misuse fails the test at its end
		e.end()
		proc.Kill()
	})
}

// Keeping may take seconds, in which connections would hang.
func TestTheNewsOfAResumeDoesNotWaitForTheKeeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		dom := h.Create(sim.DomainConfig{Name: "a"})
		proc := dom.NewProcess()
		e := newEar(t, proc, nil, 4*time.Second)
		c := e.bind()
		if err := errors.Join(dom.Suspend(), dom.Resume()); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		<-e.Resumed()
		if err := e.Reopen(); err != nil {
			t.Error(err)
		}
		if err := c.Notify(); !errors.Is(err, evtchn.ErrAbandoned) {
			t.Errorf("the news come before it is abandoned: %v", err)
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("the news took %v", took)
		}
		e.end()
		if e.kept.Load() != 1 {
			t.Error("the end does not wait for the keeper")
		}
		proc.Kill()
	})
}

// slowEvents is a connection to xenstore on which watch events, and nothing else, come
// late, in their order.
type slowEvents struct {
	io.ReadWriteCloser
	out  *io.PipeReader
	done sync.WaitGroup
}

// newSlowEvents delays the events of conn.
func newSlowEvents(conn io.ReadWriteCloser, delay time.Duration) *slowEvents {
	out, in := io.Pipe()
	s := &slowEvents{ReadWriteCloser: conn, out: out}
	s.done.Go(func() {
		for {
			header := make([]byte, 16)
			if _, err := io.ReadFull(conn, header); err != nil {
				in.CloseWithError(err)
				return
			}
			message := append(header, make([]byte, binary.LittleEndian.Uint32(header[12:]))...)
			if _, err := io.ReadFull(conn, message[16:]); err != nil {
				in.CloseWithError(err)
				return
			}
			if xenstore.Op(binary.LittleEndian.Uint32(message)) != xenstore.OpWatchEvent {
				in.Write(message)
				continue
			}
			time.AfterFunc(delay, func() { in.Write(message) })
		}
	})
	return s
}

// Read implements io.Reader.
func (s *slowEvents) Read(b []byte) (int, error) { return s.out.Read(b) }

// Close implements io.Closer.
func (s *slowEvents) Close() error {
	err := s.ReadWriteCloser.Close()
	s.out.Close()
	s.done.Wait()
	return err
}
