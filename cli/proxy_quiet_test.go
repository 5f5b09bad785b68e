package cli

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// joinQuiet joins two pipes by a proxy with a limit, and returns their other ends.
func joinQuiet(t *testing.T, limit quiet) (client, server net.Conn, done chan error) {
	near, client := net.Pipe()
	far, server := net.Pipe()
	done = make(chan error, 1)
	p := &proxy{limit: limit}
	go func() { done <- p.join(t.Context(), halves{near}, halves{far}) }()
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server, done
}

// halves is a connection whose sending can be ended, which the other end does not see.
type halves struct{ net.Conn }

func (halves) CloseWrite() error { return nil }

// The end of a direction, as the TCP of a client that is gone gives it.
func (h halves) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	if n == 1 && p[0] == endOfInput {
		return 0, io.EOF
	}
	return n, err
}

const endOfInput = 4

func TestHowLongAProxysConnectionMayBeQuiet(t *testing.T) {
	const idle, linger = 3 * time.Hour, 5 * time.Minute
	for name, test := range map[string]struct {
		limit quiet
		what  func(client, server net.Conn)
		after time.Duration // 0: it goes on
		why   string
	}{
		"open and unlimited":  {quiet{0, linger}, func(_, _ net.Conn) {}, 0, ""},
		"open":                {quiet{idle, linger}, func(_, _ net.Conn) {}, idle, "nothing was carried for 3h0m0s"},
		"open, idle is short": {quiet{time.Minute, linger}, func(_, _ net.Conn) {}, time.Minute, "nothing was carried for 1m0s"},
		"open, and something moved": {quiet{idle, linger}, func(client, server net.Conn) {
			time.Sleep(time.Hour)
			carry(client, server)
			time.Sleep(time.Hour)
			carry(server, client)
		}, 2*time.Hour + idle, "nothing was carried"},
		"the client has ended": {quiet{0, linger}, func(client, _ net.Conn) {
			time.Sleep(7 * time.Minute)
			client.Write([]byte{endOfInput})
		}, 7*time.Minute + linger, "a direction has ended"},
		"the server has ended": {quiet{0, linger}, func(_, server net.Conn) {
			server.Write([]byte{endOfInput})
		}, linger, "a direction has ended"},
		"the client has ended, and the server answers late": {quiet{0, linger}, func(client, server net.Conn) {
			client.Write([]byte{endOfInput})
			for range 10 {
				time.Sleep(linger - 1)
				carry(server, client)
			}
		}, 10*(linger-1) + linger, "a direction has ended"},
		"the client has ended, and takes the answer late": {quiet{0, linger}, func(client, server net.Conn) {
			client.Write([]byte{endOfInput})
			go io.WriteString(server, "x")
			time.Sleep(linger - 1)
			io.ReadFull(client, make([]byte, 1))
		}, linger - 1 + linger, "a direction has ended"},
		"the server takes nothing": {quiet{0, linger}, func(client, _ net.Conn) {
			time.Sleep(time.Hour + time.Second)
			io.WriteString(client, "x")
		}, time.Hour + time.Second + linger, "is not taken"},
		"the client takes nothing": {quiet{0, linger}, func(_, server net.Conn) {
			io.WriteString(server, "x")
		}, linger, "is not taken"},
		"the server takes late": {quiet{0, linger}, func(client, server net.Conn) {
			io.WriteString(client, "x")
			time.Sleep(linger - 1)
			io.ReadFull(server, make([]byte, 1))
		}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				client, server, done := joinQuiet(t, test.limit)
				go test.what(client, server)
				select {
				case err := <-done:
					if took := time.Since(began); test.after == 0 || took != test.after || err == nil || !strings.Contains(err.Error(), test.why) {
						t.Errorf("after %v: %v; want %v and %q", took, err, test.after, test.why)
					}
				case <-time.After(100 * time.Hour):
					if test.after != 0 {
						t.Error("it goes on")
					}
					client.Close()
					server.Close()
					<-done
				}
			})
		})
	}
}

// carry sends a byte from one end to the other.
func carry(from, to net.Conn) {
	io.WriteString(from, "x")
	io.ReadFull(to, make([]byte, 1))
}

func TestWhoTakesNothingIsGivenUpThoughItSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server, done := joinQuiet(t, quiet{linger: time.Minute})
		var others sync.WaitGroup
		others.Go(func() { io.WriteString(server, "not taken") })
		others.Go(func() { io.Copy(io.Discard, server) })
		others.Go(func() {
			for err := error(nil); err == nil; time.Sleep(time.Second) {
				_, err = io.WriteString(client, "x")
			}
		})
		began := time.Now()
		if err := <-done; err == nil || time.Since(began) < time.Minute || time.Since(began) > 2*time.Minute {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		others.Wait()
	})
}

func TestAWatchedConnectionRefusesWhatItHasNot(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	c := newQuietWatch(quiet{}, nil).conn(near).(*quietConn)
	_, err := c.SyscallConn()
	for what, err := range map[string]error{"CloseRead": c.CloseRead(), "CloseWrite": c.CloseWrite(), "SyscallConn": err} {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s of a pipe: %v", what, err)
		}
	}
	c.Reset()
	if _, err := near.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("after a reset: %v", err)
	}
}

func TestAWatchAllocatesNothingForWhatIsCarried(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	go io.Copy(far, far)
	c := newQuietWatch(quiet{}, nil).conn(near)
	p := make([]byte, 1)
	defer far.Close()
	if n := testing.AllocsPerRun(100, func() { c.Write(p); c.Read(p) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestTCPIsAskedWhetherTheOtherHostIsThere(t *testing.T) {
	l, err := (&tcpEnd{"127.0.0.1:0"}).listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out, err := (&tcpEnd{l.Addr().String()}).dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	for who, c := range map[string]net.Conn{"connected": out, "accepted": in} {
		raw, err := c.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			for option, want := range map[[2]int]int{
				{unix.SOL_SOCKET, unix.SO_KEEPALIVE}: 1, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE}: 60,
				{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL}: 10, {unix.IPPROTO_TCP, unix.TCP_KEEPCNT}: 6,
			} {
				if got, err := unix.GetsockoptInt(int(fd), option[0], option[1]); got != want || err != nil {
					t.Errorf("%s: option %v is %d, %v; want %d", who, option, got, err, want)
				}
			}
		})
	}
}
