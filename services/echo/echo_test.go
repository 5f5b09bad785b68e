package echo_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/services"
	"xvsock/services/echo"
	"xvsock/services/rpc/rpctest"
)

func anybody(net.Conn) (services.Caller, bool) { return services.Caller{Domain: 5}, true }

// serve runs an echo server on l until the test ends.
func serve(t testing.TB, l net.Listener, c echo.Config) *echo.Server {
	c.Identify = anybody
	s := echo.NewServer(c)
	rpctest.Serve(t, s, l)
	return s
}

func listen(t testing.TB, network string) net.Listener {
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func dial(t testing.TB, l net.Listener) net.Conn {
	c, err := net.Dial(l.Addr().Network(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return c
}

func TestEchoKeepsTheHalfClose(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		for _, size := range []int{0, 1, 32 << 10, 1<<20 + 1} {
			l := listen(t, network)
			serve(t, l, echo.Config{})
			c := dial(t, l)
			sent := make([]byte, size)
			for i := range sent {
				sent[i] = byte(rand.Uint32())
			}
			go func() {
				c.Write(sent)
				c.(interface{ CloseWrite() error }).CloseWrite()
			}()
			got, err := io.ReadAll(c)
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("%s: %d of %d bytes back, %v", network, len(got), size, err)
			}
		}
	}
}

// ends records how a connection was ended.
type ends struct {
	net.Conn
	order chan string
}

func (e ends) CloseWrite() error { e.order <- "sending"; return nil }
func (e ends) Close() error      { e.order <- "all"; return e.Conn.Close() }

// eof is a connection whose peer has ended its sending.
type eof struct{ net.Conn }

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

func TestEchoEndsItsSendingFirst(t *testing.T) {
	l := rpctest.NewListener()
	serve(t, l, echo.Config{})
	a, b := net.Pipe()
	defer a.Close()
	order := make(chan string, 8)
	l.Give(ends{eof{b}, order})
	if first, second := <-order, <-order; first != "sending" || second != "all" {
		t.Errorf("ended %s, then %s", first, second)
	}
}

func TestIdleAndUnreadConnectionsEnd(t *testing.T) {
	for why, send := range map[string]string{"a silent peer": "", "a peer that does not read": "x"} {
		synctest.Test(t, func(t *testing.T) {
			l := rpctest.NewListener()
			serve(t, l, echo.Config{Idle: 10 * time.Second})
			a := l.Dial(t, services.Caller{})
			io.WriteString(a, send)
			time.Sleep(9 * time.Second)
			synctest.Wait()
			a.SetWriteDeadline(time.Now())
			if _, err := a.Write([]byte("y")); errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("%s: the connection ended too early", why)
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if n, err := a.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
				t.Errorf("%s: %d bytes, %v after the idle limit; want the end", why, n, err)
			}
		})
	}
}

func TestEchoBoundsConnections(t *testing.T) {
	l := listen(t, "tcp")
	s := serve(t, l, echo.Config{PerDomain: 1})
	first := dial(t, l)
	first.Write([]byte("x"))
	if _, err := io.ReadFull(first, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	second := dial(t, l)
	second.Write([]byte("x"))
	if n, err := second.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Errorf("the second connection was served: %d, %v", n, err)
	}
	if _, _, refused, _ := s.Counts(); refused != 1 {
		t.Errorf("%d connections were refused", refused)
	}
}

func TestEchoAllocatesNothingPerMessage(t *testing.T) {
	l := listen(t, "tcp")
	serve(t, l, echo.Config{})
	c := dial(t, l)
	message := make([]byte, 512)
	allocations := testing.AllocsPerRun(200, func() {
		if _, err := c.Write(message); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, message); err != nil {
			t.Fatal(err)
		}
	})
	if allocations > 0 {
		t.Errorf("%v allocations a message", allocations)
	}
}

func BenchmarkEcho(b *testing.B) {
	l := listen(b, "unix")
	serve(b, l, echo.Config{})
	c := dial(b, l)
	message := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		c.Write(message)
		io.ReadFull(c, message)
	}
}
