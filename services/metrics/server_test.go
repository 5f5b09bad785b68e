package metrics_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/services"
	"xvsock/services/metrics"
	"xvsock/services/rpc/rpctest"
)

// port is a metrics server.
type port struct {
	*rpctest.Listener
	server *metrics.Server
}

// start serves what collect writes until the test ends.
func start(t *testing.T, collect func(*metrics.Writer)) port {
	s := metrics.NewServer(metrics.Config{Collect: collect, Identify: rpctest.Identify})
	return port{rpctest.Start(t, s), s}
}

func guest(domain uint16) services.Caller { return services.Caller{Domain: domain} }

func one(w *metrics.Writer) { w.Counter("a_total", "Things.").Sample(1) }

const (
	text = "# HELP a_total Things.\n# TYPE a_total counter\na_total 1\n" + leftOut + "0\n"
	get  = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
)

var answered = fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"+
	"Content-Length: %d\r\nConnection: close\r\n\r\n%s", len(text), text)

const (
	refused    = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
	notAllowed = "HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
	busy       = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)

func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		name, sent, want string
		after            time.Duration
	}{
		{"a scrape", get, answered, 0},
		{"another target", "GET http://x/a?b=c HTTP/1.0\r\n\r\n", answered, 0},
		{"bare line feeds", "GET / HTTP/1.1\nHost: x\n\n", answered, 0},
		{"the headers of Prometheus", "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:9\r\nUser-Agent: Prometheus/3\r\n" +
			"Accept: text/plain;version=0.0.4;q=0.2,*/*;q=0.1\r\nAccept-Encoding: gzip\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n", answered, 0},
		{"silence", "", text, time.Second},
		{"HEAD", "HEAD / HTTP/1.1\r\n\r\n", notAllowed, 0},
		{"POST", "POST /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\n", notAllowed, 0},
		{"a method in small letters", "get / HTTP/1.1\r\n\r\n", notAllowed, 0},
		{"HTTP/2", "PRI * HTTP/2.0\r\n", refused, 0},
		{"HTTP/0.9", "GET /\r\n", refused, 0},
		{"an empty line", "\r\n", refused, 0},
		{"two blanks", "GET  / HTTP/1.1\r\n", refused, 0},
		{"a target with a control character", "GET /\x1b HTTP/1.1\r\n", refused, 0},
		{"a header without colon", "GET / HTTP/1.1\r\nHost\r\n", refused, 0},
		{"a header with a blank", "GET / HTTP/1.1\r\nHost : x\r\n", refused, 0},
		{"a folded header", "GET / HTTP/1.1\r\nHost: x\r\n y\r\n", refused, 0},
		{"a header with a control character", "GET / HTTP/1.1\r\nHost: \x00\r\n", refused, 0},
		{"a carriage return inside", "GET / HTTP/1.1\r\nHost: x\ry\r\n", refused, 0},
		{"a message of varlink", `{"method":"org.varlink.service.GetInfo"}` + "\n", refused, 0},
		{"zeros", strings.Repeat("\x00", 4096), refused, 0},
		{"a line without end", "GET /" + strings.Repeat("x", 4091), refused, 0},
		{"the longest request", "GET /" + strings.Repeat("x", 4096-len("GET / HTTP/1.1\r\n\r\n")) + " HTTP/1.1\r\n\r\n", answered, 0},
		{"a request too long by a byte", "GET /" + strings.Repeat("x", 4097-len("GET / HTTP/1.1\r\n\r\n")) + " HTTP/1.1\r\n\r", refused, 0},
		{"half a request line", "GET / HT", refused, 5 * time.Second},
		{"headers without end", "GET / HTTP/1.1\r\nHost: x\r\n", refused, 5 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := start(t, one).Dial(t, guest(5))
				began := time.Now()
				io.WriteString(conn, c.sent)
				got, err := io.ReadAll(conn)
				if string(got) != c.want || err != nil || time.Since(began) != c.after {
					t.Errorf("after %v, %v:\n%q\nwant after %v:\n%q", time.Since(began), err, got, c.after, c.want)
				}
			})
		})
	}
}

func TestARequestMayComeInPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := start(t, one).Dial(t, guest(5))
		go func() {
			for i := range len(get) {
				io.WriteString(conn, get[i:i+1])
				time.Sleep(100 * time.Millisecond)
			}
		}()
		if got, _ := io.ReadAll(conn); string(got) != answered {
			t.Errorf("answered %q", got)
		}
		time.Sleep(time.Minute)
	})
	synctest.Test(t, func(t *testing.T) {
		conn := start(t, one).Dial(t, guest(5))
		began := time.Now()
		go func() {
			for range 20 {
				io.WriteString(conn, "G")
				time.Sleep(900 * time.Millisecond)
			}
		}()
		if got, _ := io.ReadAll(conn); string(got) != refused || time.Since(began) != 5*time.Second {
			t.Errorf("answered %q after %v; want a refusal after 5 s in all", got, time.Since(began))
		}
		time.Sleep(time.Minute)
	})
}

// Over real sockets, with their half-close and their resets.
func TestOverSockets(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := metrics.NewServer(metrics.Config{Collect: one, Identify: func(net.Conn) (services.Caller, bool) { return services.Caller{}, true }})
	rpctest.Serve(t, s, l)
	for _, c := range []struct {
		name, sent, want string
		half             bool
	}{
		{"the bare text after a half-close", "", text, true},
		{"a scrape", get, answered, false},
		{"a scrape with a half-close", get, answered, true},
		{"half a request and a half-close", get[:20], refused, true},
		// Not answered by a reset, although not all that was sent was read.
		{"a refusal before a body", "POST / HTTP/1.1\r\n\r\n" + strings.Repeat("x", 60000), notAllowed, false},
	} {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(30 * time.Second))
		io.WriteString(conn, c.sent)
		if c.half {
			conn.(*net.TCPConn).CloseWrite()
		}
		if got, err := io.ReadAll(conn); string(got) != c.want || err != nil {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
		conn.Close()
	}
}

func TestOneScrapeAtATimeADomain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, one)
		slow := p.Dial(t, guest(5))
		io.WriteString(slow, get) // and reads nothing
		synctest.Wait()
		scrape := func(domain uint16) string {
			conn := p.Dial(t, guest(domain))
			io.WriteString(conn, get)
			got, _ := io.ReadAll(conn)
			return string(got)
		}
		if got := scrape(5); got != busy {
			t.Errorf("a second scrape: %q", got)
		}
		if got, _ := io.ReadAll(p.Dial(t, guest(5))); len(got) > 0 {
			t.Errorf("a second, bare one: %q", got)
		}
		if got := scrape(6); got != answered {
			t.Errorf("another domain: %q", got)
		}
		time.Sleep(10 * time.Second) // the slow one's time is over
		synctest.Wait()
		if got := scrape(5); got != answered {
			t.Errorf("afterwards: %q", got)
		}
	})
}

// However many domains read slowly, the texts that they hold are few.
func TestSlowScrapesAreBoundedInAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, one)
		for domain := range uint16(16) {
			io.WriteString(p.Dial(t, guest(domain)), get)
		}
		synctest.Wait()
		conn := p.Dial(t, guest(16))
		io.WriteString(conn, get)
		if got, _ := io.ReadAll(conn); string(got) != busy {
			t.Errorf("the 17th domain: %q", got)
		}
	})
}

func TestACallerThatDoesNotReadIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, one)
		conn := p.Dial(t, guest(5))
		io.WriteString(conn, get)
		time.Sleep(10*time.Second + 1)
		synctest.Wait()
		if n, err := conn.Read(make([]byte, 1)); n > 0 || err != io.EOF {
			t.Errorf("%d, %v; want the end", n, err)
		}
	})
}

func TestAFloodDoesNotCollectAllTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var collected atomic.Int64
		p := start(t, func(w *metrics.Writer) {
			w.Counter("a_total", "Things.").Sample(float64(collected.Add(1)))
		})
		var got []byte
		for i := range 100 {
			conn := p.Raw(guest(uint16(i)))
			io.WriteString(conn, get)
			got, _ = io.ReadAll(conn)
			conn.Close()
			time.Sleep(10 * time.Millisecond)
		}
		if n := collected.Load(); n != 10 || !strings.Contains(string(got), "a_total 10\n") {
			t.Errorf("collected %d times in a second; want 10\n%s", n, got)
		}
	})
}

func TestConnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, one)
		var open []net.Conn
		for i := range 1000 {
			open = append(open, p.Raw(guest(uint16(i%100))))
		}
		synctest.Wait()
		if _, _, n, _ := p.server.Counts(); n != 1000-256 {
			t.Errorf("%d of 1000 connections of 100 domains were refused; want all but 256", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, c := range open {
			c.Close()
		}
		conn := p.Dial(t, guest(5))
		io.WriteString(conn, get)
		if got, _ := io.ReadAll(conn); string(got) != answered {
			t.Errorf("afterwards: %q", got)
		}
	})
}

func TestWithoutNumbersTheTextSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if got, _ := io.ReadAll(start(t, nil).Dial(t, guest(5))); string(got) != leftOut+"0\n" {
			t.Errorf("text %q", got)
		}
	})
}

func TestAPanicOfTheCollectorCostsOneConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := true
		p := start(t, func(w *metrics.Writer) {
			if first {
				first = false
				panic("bug")
			}
			one(w)
		})
		if got, _ := io.ReadAll(p.Dial(t, guest(5))); len(got) > 0 {
			t.Errorf("text of a panic: %q", got)
		}
		if got, _ := io.ReadAll(p.Dial(t, guest(5))); string(got) != text {
			t.Errorf("afterwards: %q", got)
		}
	})
}

// Whatever a caller sends, it gets one of the answers, or none.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(get))
	f.Add([]byte("POST / HTTP/1.1\r\n\r\n"))
	f.Add([]byte("\x00"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		if len(sent) == 0 {
			return
		}
		conn := start(t, one).Raw(guest(5))
		go conn.Write(sent)
		conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		got, err := io.ReadAll(conn)
		conn.Close()
		switch string(got) {
		case answered, refused, notAllowed:
		case "":
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("%q: %v", sent, err)
			}
		default:
			t.Fatalf("%q was answered by %q", sent, got)
		}
	})
}
