package services_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/services"
)

func TestShortagesAreToldFromFaults(t *testing.T) {
	for err, want := range map[error]bool{
		syscall.EMFILE: true, syscall.ENFILE: true, syscall.ENOMEM: true, syscall.EAGAIN: true, syscall.ENOBUFS: true,
		syscall.ECONNREFUSED: false, syscall.ENOENT: false, net.ErrClosed: false,
	} {
		wrapped := &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", err)}
		if services.Shortage(wrapped) != want {
			t.Errorf("Shortage(%v) = %v", wrapped, !want)
		}
	}
	if services.Shortage(nil) {
		t.Error("no error is a shortage")
	}
}

// The listener may be the control socket's, whose end is the end of the daemon.
func TestAcceptorOutlastsAnyShortage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, text := record()
		a := &services.Acceptor{Handle: func(_ context.Context, c net.Conn, _ services.Caller) { io.Copy(io.Discard, c) },
			Identify: identify, Log: log}
		l := newPipes()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- a.Serve(ctx, l) }()
		began := time.Now()
		for range 3000 { // five minutes
			l.fail <- &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
		}
		if took := time.Since(began); took < 4*time.Minute {
			t.Errorf("3000 tries in %v; want one in 100 ms", took)
		}
		if closedAtOnce(l.dial(1)) {
			t.Error("not served after the shortage")
		}
		if n := strings.Count(text.String(), "cannot accept connections for now"); n < 4 || n > 6 {
			t.Errorf("said %d times in five minutes; want one a minute", n)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
}

func TestAConnectionThatIsNotServedToItsEndIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cut := make(map[uint16]int)
		a := &services.Acceptor{
			Handle: func(_ context.Context, c net.Conn, who services.Caller) {
				if who.Domain == 66 {
					panic("found a bug")
				}
				io.Copy(io.Discard, c)
			},
			Identify: identify, PerDomain: 1,
			Cut: func(c net.Conn) { cut[c.(pipeConn).domain]++; c.Close() },
		}
		l := newPipes()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- a.Serve(ctx, l) }()
		open := []net.Conn{l.dial(1), l.dial(2)}
		synctest.Wait()
		open[1].Close() // the handler returns by itself
		for _, domain := range []uint16{66, 1, 0xFFFF} {
			if !closedAtOnce(l.dial(domain)) {
				t.Errorf("domain %d was served", domain)
			}
		}
		synctest.Wait()
		if cut[66] != 1 || cut[1] != 1 || cut[0xFFFF] != 1 || cut[2] != 0 {
			t.Errorf("cut %v; want the panic's, the one over the bound and the unknown", cut)
		}
		cancel()
		<-ended
		if cut[1] != 2 {
			t.Error("the end of the service closed a connection in place of cutting it")
		}
	})
}

// faulting is a service that tells of faults.
type faulting struct{ serviceFunc }

func (faulting) Faults() error { return errors.New("a program ended: exit status 1") }

func TestStatusTellsFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := services.NewSupervisor(services.Config{Listen: listenPipes})
		s.Add(services.Info{Name: "kv", Port: 1000}, faulting{wait})
		stop := supervise(t, s)
		if st := s.Status()[0]; st.Fault == nil || st.Err != nil || st.State != services.Serving {
			t.Errorf("Status = %+v; want the fault, of a service that serves", st)
		}
		stop()
	})
}
