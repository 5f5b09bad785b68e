package payload_test

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"

	"xvsock/services"
	"xvsock/services/payload"
)

func runForward(t *testing.T, c payload.Config, network, address string) *host {
	t.Helper()
	c.Name, c.Port, c.Identify = "kv", 5000, identify
	return run(t, func(log *slog.Logger) services.Service {
		c.Log = log
		return payload.NewForward(c, network, address)
	})
}

// target is a server in the domain. It echoes, and ends its sending when its peer
// does; ends tells how each connection ended for it.
type target struct {
	l    net.Listener
	ends chan error
	all  sync.WaitGroup
}

func newTarget(t *testing.T, network, address string) *target {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	s := &target{l: l, ends: make(chan error, 100)}
	s.all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.all.Go(func() {
				defer c.Close()
				_, err := io.Copy(c, c)
				s.ends <- err
			})
		}
	})
	t.Cleanup(s.close)
	return s
}

// close takes no more connections; those that are go on.
func (s *target) close() { s.l.Close() }

func each(t *testing.T, f func(t *testing.T, network, address string)) {
	for _, network := range []string{"unix", "tcp"} {
		t.Run(network, func(t *testing.T) {
			address := filepath.Join(t.TempDir(), "target")
			if network == "tcp" {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				address = l.Addr().String()
				l.Close()
			}
			f(t, network, address)
		})
	}
}

func TestForwardKeepsBytesAndHalfClose(t *testing.T) {
	each(t, func(t *testing.T, network, address string) {
		s := newTarget(t, network, address)
		h := runForward(t, payload.Config{}, network, address)
		c := h.dial()
		const size = 3<<20 + 1
		go func() {
			c.Write(make([]byte, size))
			c.CloseWrite()
		}()
		if n, err := io.Copy(io.Discard, c); n != size || err != nil {
			t.Errorf("%d bytes back, %v; want %d and the end", n, err, size)
		}
		h.idle()
		h.stop()
		s.close()
		s.all.Wait()
	})
}

func TestATargetAtAUnixSocketSeesWhoCalls(t *testing.T) {
	path := filepath.Join(t.TempDir(), "target")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	names := make(chan string, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if name := c.RemoteAddr().String(); name != "@" { // a probe has none
				names <- name
			}
			c.Close()
		}
	}()
	h := runForward(t, payload.Config{}, "unix", path)
	h.dial()
	if name := <-names; !regexp.MustCompile(`^@xvsock/5/4711/\d+$`).MatchString(name) {
		t.Errorf("the target sees %q; want @xvsock/5/4711/SERIAL", name)
	}
	h.stop()
}

func TestForwardWaitsForItsTarget(t *testing.T) {
	each(t, func(t *testing.T, network, address string) {
		h := runForward(t, payload.Config{}, network, address)
		await(t, "two tries", func() bool { return h.status().Starts >= 2 })
		if h.state() != services.NotServing {
			t.Errorf("state without a target: %s", h.state())
		}
		if h.log.count("service cannot start", "forward to "+network, address, "again_in=") == 0 {
			t.Error("the missing target is not said")
		}
		s := newTarget(t, network, address)
		c := h.dial()
		io.WriteString(c, "x")
		c.CloseWrite()
		if got := readAll(t, c); got != "x" {
			t.Errorf("got %q", got)
		}
		h.stop()
		s.close()
		s.all.Wait()
	})
}

func TestForwardKeepsItsConnectionsWhenTheTargetTakesNoMore(t *testing.T) {
	each(t, func(t *testing.T, network, address string) {
		s := newTarget(t, network, address)
		h := runForward(t, payload.Config{Probe: -1}, network, address)
		old := h.dial()
		io.WriteString(old, "1")
		io.ReadFull(old, make([]byte, 1))
		s.close()
		if h.try() == nil {
			t.Error("served without a target")
		}
		h.await(services.NotServing)
		await(t, "a try", func() bool { return h.log.count("service cannot start") > 0 })
		io.WriteString(old, "2")
		if _, err := io.ReadFull(old, make([]byte, 1)); err != nil {
			t.Errorf("the joined connection was cut: %v", err)
		}
		if open := h.status().Open; open != 1 {
			t.Errorf("%d connections are open", open)
		}
		second := newTarget(t, network, address)
		c := h.dial() // served again, by another life
		io.WriteString(c, "3")
		io.ReadFull(c, make([]byte, 1))
		io.WriteString(old, "4")
		if _, err := io.ReadFull(old, make([]byte, 1)); err != nil {
			t.Errorf("the joined connection was cut: %v", err)
		}
		second.close()
		h.stop() // now all of them end
		for _, c := range []net.Conn{old, c} {
			if _, err := c.Read(make([]byte, 1)); err == nil {
				t.Error("a connection outlived the service")
			}
		}
		s.all.Wait()
		second.all.Wait()
	})
}

// The service ends while it waits for its target: what earlier lives have left ends
// with it.
func TestForwardEndsWhatItLeft(t *testing.T) {
	each(t, func(t *testing.T, network, address string) {
		s := newTarget(t, network, address)
		h := runForward(t, payload.Config{Probe: 50 * time.Millisecond}, network, address)
		old := h.dial()
		io.WriteString(old, "1")
		io.ReadFull(old, make([]byte, 1))
		s.close()
		h.await(services.NotServing) // by the probe: nobody connects
		if err := h.stop(); err != nil {
			t.Error(err)
		}
		if _, err := old.Read(make([]byte, 1)); err == nil {
			t.Error("a connection outlived the service")
		}
		s.all.Wait()
	})
}

func TestALostPeerIsLostForTheTarget(t *testing.T) {
	each(t, func(t *testing.T, network, address string) {
		s := newTarget(t, network, address)
		h := runForward(t, payload.Config{Probe: -1}, network, address)
		c := h.dial()
		<-s.ends // of the first probe
		io.WriteString(c, "1")
		io.ReadFull(c, make([]byte, 1))
		reset(c)
		if err := <-s.ends; network == "tcp" && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the target saw %v; want a reset", err)
		}
		h.idle()
		h.stop()
		s.close()
		s.all.Wait()
	})
}
