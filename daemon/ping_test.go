package daemon_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/daemon"
	"xvsock/services"
	"xvsock/vsock"
)

// flapping makes a service that ends soon after it has begun.
func flapping(services.Identify, *slog.Logger) services.Service { return flap{} }

type flap struct{}

func (flap) Serve(ctx context.Context, l net.Listener) error {
	defer l.Close()
	select {
	case <-time.After(2 * time.Second):
	case <-ctx.Done():
	}
	return errors.New("flap")
}

// Whatever the echo of a domain does, a ping ends in time and says what was wrong.
func TestPingFindsOutAboutEveryEcho(t *testing.T) {
	const size = 100_000
	for name, c := range map[string]struct {
		echo   func(*vsock.Conn)
		want   string // in the error; "" for success
		within time.Duration
	}{
		"an honest echo": {func(c *vsock.Conn) { io.Copy(c, c); c.CloseWrite() }, "", time.Second},
		"other bytes": {func(c *vsock.Conn) {
			io.CopyN(c, c, size/2)
			b := make([]byte, 1)
			c.Read(b)
			c.Write([]byte{b[0] + 1})
			io.Copy(c, c)
			c.CloseWrite()
		}, "other bytes came back", time.Second},
		"more bytes": {func(c *vsock.Conn) { io.Copy(c, c); c.Write([]byte("more")); c.CloseWrite() },
			"more bytes came back", time.Second},
		"fewer bytes": {func(c *vsock.Conn) { io.CopyN(c, c, size-1); io.Copy(io.Discard, c); c.CloseWrite() },
			"fewer bytes came back than were sent: 99999 of 100000", time.Second},
		"nothing, and the end": {func(c *vsock.Conn) { io.Copy(io.Discard, c); c.CloseWrite() },
			"fewer bytes came back than were sent: 0 of 100000", time.Second},
		"an end in the middle": {func(c *vsock.Conn) { io.CopyN(c, c, size/2) }, "bytes", time.Second},
		"silence":              {func(c *vsock.Conn) { io.Copy(io.Discard, c); time.Sleep(time.Minute) }, "nothing for 10s after 0 of 100000", 11 * time.Second},
		"silence without reading": {func(c *vsock.Conn) { time.Sleep(time.Minute) },
			"nothing for 10s after 0 of 100000", 11 * time.Second},
		"no end": {func(c *vsock.Conn) { io.Copy(c, c); time.Sleep(time.Minute) },
			"nothing for 10s after 100000 of 100000", 11 * time.Second},
		"a trickle": {func(c *vsock.Conn) {
			for {
				if _, err := io.CopyN(c, c, 1); err != nil {
					return
				}
				time.Sleep(9 * time.Second)
			}
		}, "no answer in time: not even 256 KiB a second", 21 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t)
				b := h.backend()
				p := startPeer(t, h.create("web"))
				p.serve(t, services.PortEcho, c.echo)
				<-p.links
				time.Sleep(time.Second)
				begin := time.Now()
				err := b.ping("web", size)
				took := time.Since(begin)
				if c.want == "" && err != nil || c.want != "" && (code(err) != "Failed" || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("ping gives %v, want %q", err, c.want)
				}
				if took > c.within {
					t.Errorf("ping took %v, want %v at most", took, c.within)
				}
				time.Sleep(2 * time.Minute)
				if n := b.status().Links[0].Connections; n != 0 {
					t.Errorf("%d connections are left", n)
				}
			})
		})
	}
}

func TestPingTakesASensibleNumberOfBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		b := h.backend()
		for _, n := range []int64{-1, 0, daemon.MaxPing + 1, 1 << 62} {
			if err := b.ping("self", n); code(err) != "InvalidParameter" {
				t.Errorf("%d bytes: %v", n, err)
			}
		}
		for _, n := range []int64{1, 16 << 10, 16<<10 + 1, 1 << 20} {
			if err := b.ping("self", n); err != nil {
				t.Errorf("%d bytes: %v", n, err)
			}
		}
	})
}

func TestPingTimeIsBounded(t *testing.T) {
	for n, most := range map[int64]time.Duration{1: 21 * time.Second, 1 << 20: 25 * time.Second, daemon.MaxPing: 2 * time.Hour} {
		if got := daemon.PingTime(n); got < 20*time.Second || got > most {
			t.Errorf("PingTime(%d) = %v, want 20 s to %v", n, got, most)
		}
	}
}
