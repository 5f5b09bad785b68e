package varlink_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/services/varlink"
)

var errSecret = errors.New("secret detail")

func methods() varlink.Methods {
	m := varlink.Methods{
		"org.example.Echo": func(_ context.Context, c *varlink.Call) (any, error) {
			var in struct {
				Text string `json:"text"`
			}
			return &in, c.Decode(&in)
		},
		"org.example.Fail": func(context.Context, *varlink.Call) (any, error) { return nil, errSecret },
		"org.example.Huge": func(context.Context, *varlink.Call) (any, error) { return strings.Repeat("x", 70<<10), nil },
		"org.example.None": func(context.Context, *varlink.Call) (any, error) { return nil, nil },
		"org.example.Slow": func(context.Context, *varlink.Call) (any, error) {
			time.Sleep(15 * time.Second)
			return nil, nil
		},
		"org.example.Count": func(_ context.Context, c *varlink.Call) (any, error) {
			for i := range 3 {
				if err := c.Send(map[string]int{"n": i}); err != nil {
					return nil, err
				}
			}
			return map[string]int{"n": 3}, nil
		},
		"org.example.Wait": func(ctx context.Context, c *varlink.Call) (any, error) {
			if err := c.Send(map[string]bool{"waiting": true}); err != nil {
				return nil, err
			}
			<-ctx.Done()
			return nil, ctx.Err()
		},
	}
	m.Describe(varlink.Info{Vendor: "v", Product: "p", Version: "1", URL: "u"}, map[string]string{"org.example": "interface org.example\n"})
	return m
}

// serve runs a server at the other end of the returned connection; ended gets
// what Serve returns.
func serve(t *testing.T, s varlink.Server, h varlink.Handler) (conn net.Conn, ended chan error) {
	a, b := net.Pipe()
	ended = make(chan error, 1)
	go func() { ended <- s.Serve(t.Context(), b, h) }()
	t.Cleanup(func() { a.Close() })
	return a, ended
}

func exchange(t *testing.T, conn net.Conn, r *bufio.Reader, in string) string {
	t.Helper()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, in); err != nil {
		t.Fatalf("write %.60q: %v", in, err)
	}
	out, err := r.ReadString(in[len(in)-1])
	if err != nil {
		t.Fatalf("answer to %.60q: %q, %v", in, out, err)
	}
	return out
}

func TestCallsAndReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, ended := serve(t, varlink.Server{}, methods())
		r := bufio.NewReader(conn)
		for _, c := range []struct{ name, in, want string }{
			{"a call", `{"method":"org.example.Echo","parameters":{"text":"a<b"}}`, `{"parameters":{"text":"a<b"}}`},
			{"no parameters", `{"method":"org.example.Echo"}`, `{"parameters":{"text":""}}`},
			{"no result", `{"method":"org.example.None"}`, `{"parameters":{}}`},
			{"oneway is answered", `{"method":"org.example.None","oneway":true}`, `{"parameters":{}}`},
			{"more that is not needed", `{"method":"org.example.None","more":true}`, `{"parameters":{}}`},
			{"unknown method", `{"method":"org.example.Nothing"}`, `{"error":"org.varlink.service.MethodNotFound","parameters":{"method":"org.example.Nothing"}}`},
			{"unknown parameter", `{"method":"org.example.Echo","parameters":{"TEXT":"x"}}`, `{"error":"org.varlink.service.InvalidParameter","parameters":{"parameter":"parameters"}}`},
			{"a fault of ours", `{"method":"org.example.Fail"}`, `{"error":"org.xvsock.Protocol.Internal"}`},
			{"a reply too large", `{"method":"org.example.Huge"}`, `{"error":"org.xvsock.Protocol.Internal"}`},
			{"a stream without more", `{"method":"org.example.Count"}`, `{"error":"org.varlink.service.ExpectedMore"}`},
			{"info", `{"method":"org.varlink.service.GetInfo","parameters":{}}`, `{"parameters":{"vendor":"v","product":"p","version":"1","url":"u","interfaces":["org.example","org.varlink.service"]}}`},
			{"a description", `{"method":"org.varlink.service.GetInterfaceDescription","parameters":{"interface":"org.example"}}`, `{"parameters":{"description":"interface org.example\n"}}`},
			{"no such description", `{"method":"org.varlink.service.GetInterfaceDescription","parameters":{"interface":"\u001b"}}`, `{"error":"org.varlink.service.InterfaceNotFound"}`},
		} {
			for _, end := range []string{"\n", "\x00"} {
				if got := exchange(t, conn, r, c.in+end); got != c.want+end {
					t.Errorf("%s: %q; want %q", c.name, got, c.want+end)
				}
			}
		}
		conn.Close()
		if err := <-ended; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
}

func TestMalformedMessageGetsOneErrorAndTheEnd(t *testing.T) {
	for why, in := range map[string]string{
		"garbage":                 `hello`,
		"an empty line":           ``,
		"no method":               `{}`,
		"an empty method":         `{"method":""}`,
		"a method without dots":   `{"method":"GetInfo"}`,
		"a method of escapes":     `{"method":"a.\u001b[31m"}`,
		"a long method":           `{"method":"a.` + strings.Repeat("b", 255) + `"}`,
		"null for the method":     `{"method":null}`,
		"Method for method":       `{"Method":"org.example.None"}`,
		"the method twice":        `{"method":"org.example.None","method":"org.example.Fail"}`,
		"the method in two cases": `{"method":"org.example.None","METHOD":"org.example.Fail"}`,
		"an unknown member":       `{"method":"org.example.None","sender":"dom0"}`,
		"parameters of a list":    `{"method":"org.example.None","parameters":[]}`,
		"parameters of null":      `{"method":"org.example.None","parameters":null}`,
		"more of text":            `{"method":"org.example.None","more":"yes"}`,
		"two objects":             `{"method":"org.example.None"}{"method":"org.example.None"}`,
		"a depth bomb":            `{"method":"org.example.None","parameters":{"x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}}`,
		"broken UTF-8":            "{\"method\":\"org.example.None\xff\"}",
	} {
		synctest.Test(t, func(t *testing.T) {
			conn, ended := serve(t, varlink.Server{}, methods())
			r := bufio.NewReader(conn)
			got := exchange(t, conn, r, in+"\x00")
			if got != `{"error":"org.xvsock.Protocol.Malformed"}`+"\x00" {
				t.Errorf("%s: answer %q", why, got)
			}
			if rest, err := io.ReadAll(r); len(rest) > 0 || err != nil {
				t.Errorf("%s: after the error %q, %v; want the end", why, rest, err)
			}
			if err := <-ended; !errors.Is(err, varlink.ErrMalformed) {
				t.Errorf("%s: Serve = %v; want ErrMalformed", why, err)
			}
		})
	}
}

func TestTooLargeMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, ended := serve(t, varlink.Server{}, methods())
		go func() {
			chunk := bytes.Repeat([]byte("x"), 4096)
			for {
				if _, err := conn.Write(chunk); err != nil {
					return
				}
			}
		}()
		got, err := bufio.NewReader(conn).ReadString('\n')
		if got != `{"error":"org.xvsock.Protocol.TooLarge"}`+"\n" {
			t.Errorf("answer %q, %v", got, err)
		}
		if err := <-ended; !errors.Is(err, varlink.ErrTooLarge) {
			t.Errorf("Serve = %v", err)
		}
	})
}

func TestTrickledMessageIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, ended := serve(t, varlink.Server{}, methods())
		io.WriteString(conn, `{"method":`)
		began := time.Now()
		got, _ := bufio.NewReader(conn).ReadString('\n')
		if got != `{"error":"org.xvsock.Protocol.TimedOut"}`+"\n" || time.Since(began) != 5*time.Second {
			t.Errorf("answer %q after %v", got, time.Since(began))
		}
		if err := <-ended; !errors.Is(err, varlink.ErrTimeout) {
			t.Errorf("Serve = %v", err)
		}
	})
}

func TestIdleConnectionIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, ended := serve(t, varlink.Server{Limits: varlink.Limits{Idle: 10 * time.Second}}, methods())
		r := bufio.NewReader(conn)
		time.Sleep(9 * time.Second)
		exchange(t, conn, r, `{"method":"org.example.None"}`+"\n")
		began := time.Now()
		if err := <-ended; err != nil || time.Since(began) != 10*time.Second {
			t.Errorf("Serve = %v after %v; want nil after 10 s", err, time.Since(began))
		}
	})
}

func TestIdleTimeCountsFromTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, ended := serve(t, varlink.Server{Limits: varlink.Limits{Idle: 10 * time.Second}}, methods())
		io.WriteString(conn, `{"method":"org.example.Slow"}`+"\n")
		bufio.NewReader(conn).ReadString('\n')
		began := time.Now()
		if err := <-ended; err != nil || time.Since(began) != 10*time.Second {
			t.Errorf("Serve = %v, %v after the answer; want nil after 10 s", err, time.Since(began))
		}
	})
}

func TestStreamKeepsAConnectionFromIdling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, ended := serve(t, varlink.Server{Limits: varlink.Limits{Idle: time.Second}}, methods())
		exchange(t, conn, bufio.NewReader(conn), `{"method":"org.example.Wait","more":true}`+"\n")
		time.Sleep(time.Hour)
		select {
		case err := <-ended:
			t.Fatalf("Serve = %v while a stream was open", err)
		default:
		}
		conn.Close()
		if err := <-ended; err != nil {
			t.Errorf("Serve = %v; want nil when the caller went", err)
		}
	})
}

func TestTooManyOutstandingCalls(t *testing.T) {
	call := `{"method":"org.example.None"}` + "\n"
	large := `{"method":"org.example.Echo","parameters":{"text":"` + strings.Repeat("x", 60<<10) + `"}}` + "\n"
	for _, c := range []struct {
		name string
		fits string
		over string
	}{
		{"calls", strings.Repeat(call, 31), call},
		{"bytes", large + large, large},
	} {
		synctest.Test(t, func(t *testing.T) {
			conn, ended := serve(t, varlink.Server{}, methods())
			r := bufio.NewReader(conn)
			exchange(t, conn, r, `{"method":"org.example.Wait","more":true}`+"\n")
			conn.SetDeadline(time.Time{})
			io.WriteString(conn, c.fits)
			synctest.Wait()
			select {
			case err := <-ended:
				t.Fatalf("%s within the bound: Serve = %v", c.name, err)
			default:
			}
			io.WriteString(conn, c.over)
			if got, _ := r.ReadString('\n'); got != `{"error":"org.xvsock.Protocol.TooManyRequests"}`+"\n" {
				t.Errorf("%s: answer %q", c.name, got)
			}
			if err := <-ended; err == nil {
				t.Errorf("%s: the connection went on", c.name)
			}
		})
	}
}

func TestCallerThatDoesNotReadIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, ended := serve(t, varlink.Server{}, methods())
		io.WriteString(conn, `{"method":"org.example.None"}`+"\n")
		began := time.Now()
		if err := <-ended; !errors.Is(err, varlink.ErrTimeout) || time.Since(began) != 5*time.Second {
			t.Errorf("Serve = %v after %v; want ErrTimeout after 5 s", err, time.Since(began))
		}
	})
}

func TestServerFaultsAreLoggedNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		conn, ended := serve(t, varlink.Server{Log: slog.New(slog.NewTextHandler(&log, nil))}, methods())
		got := exchange(t, conn, bufio.NewReader(conn), `{"method":"org.example.Fail"}`+"\n")
		conn.Close()
		<-ended
		if strings.Contains(got, "secret") || !strings.Contains(log.String(), "secret detail") {
			t.Errorf("answer %q, log %q", got, log.String())
		}
	})
}

func TestPaceHoldsCallsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := varlink.Server{Pace: func(context.Context) error { time.Sleep(time.Second); return nil }}
		conn, ended := serve(t, s, methods())
		r := bufio.NewReader(conn)
		began := time.Now()
		for range 3 {
			exchange(t, conn, r, `{"method":"org.example.None"}`+"\n")
		}
		if d := time.Since(began); d != 3*time.Second {
			t.Errorf("three calls took %v; want 3 s", d)
		}
		conn.Close()
		<-ended
	})
}

// A caller that ends its sending still gets what it asked for, over sockets
// that can tell half an end.
func TestHalfClosedCallerIsAnswered(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ended := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			err = new(varlink.Server).Serve(t.Context(), c, methods())
		}
		ended <- err
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(conn, `{"method":"org.example.None"}`+"\n"+`{"method":"org.example.Count","more":true}`+"\n")
	conn.(*net.TCPConn).CloseWrite()
	got, err := io.ReadAll(conn)
	want := `{"parameters":{}}
{"parameters":{"n":0},"continues":true}
{"parameters":{"n":1},"continues":true}
{"parameters":{"n":2},"continues":true}
{"parameters":{"n":3}}
`
	if string(got) != want || err != nil {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	if err := <-ended; err != nil {
		t.Errorf("Serve = %v", err)
	}
}

// Whatever a caller sends, every answer is one well-formed reply, and the
// server comes to an end.
func FuzzServer(f *testing.F) {
	for _, s := range []string{
		`{"method":"org.example.Echo","parameters":{"text":"x"}}` + "\n",
		`{"method":"org.example.Count","more":true}` + "\x00" + `{"method":"org.example.Wait","more":true}` + "\n",
		`{"method":"org.varlink.service.GetInfo"}` + "\n{}\n",
		strings.Repeat("\n", 40),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		a, b := net.Pipe()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			new(varlink.Server).Serve(t.Context(), b, methods())
		}()
		go func() {
			a.Write(in)
			time.Sleep(time.Millisecond)
			a.Close()
		}()
		var got bytes.Buffer
		io.Copy(&got, a)
		<-ended
		answers := bytes.FieldsFunc(got.Bytes(), func(r rune) bool { return r == '\n' || r == 0 })
		if n := len(got.Bytes()); n > 0 && got.Bytes()[n-1] != '\n' && got.Bytes()[n-1] != 0 {
			answers = answers[:len(answers)-1] // cut short by the end of the connection
		}
		for _, answer := range answers {
			var r map[string]any
			if err := json.Unmarshal(answer, &r); err != nil {
				t.Fatalf("answer %q: %v", answer, err)
			}
		}
	})
}

func ExampleServer() {
	client, server := net.Pipe()
	go new(varlink.Server).Serve(context.Background(), server, varlink.Methods{
		"org.example.Double": func(_ context.Context, call *varlink.Call) (any, error) {
			var in struct {
				N int `json:"n"`
			}
			if err := call.Decode(&in); err != nil {
				return nil, err
			}
			return map[string]int{"n": 2 * in.N}, nil
		},
	})
	c := varlink.NewClient(client, varlink.Limits{})
	defer c.Close()
	var out struct {
		N int `json:"n"`
	}
	err := c.Call(context.Background(), "org.example.Double", map[string]int{"n": 21}, &out)
	fmt.Println(out.N, err)
	// Output: 42 <nil>
}
