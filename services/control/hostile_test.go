package control_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/services"
	"xvsock/services/control"
	"xvsock/services/varlink"
)

// Programs of domain 0, and all other domains together, cannot keep domain 0's root
// out.
func TestAFloodOfStrangersKeepsNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, &fake{})
		var open []net.Conn
		for range 20 {
			open = append(open, p.Raw(user(0)))
		}
		for domain := range uint16(100) {
			for range 4 {
				open = append(open, p.Raw(root(domain+1)))
			}
		}
		synctest.Wait()
		held := 0
		for _, c := range open {
			c.SetReadDeadline(time.Now())
			if _, err := c.Read(make([]byte, 1)); err != io.EOF {
				held++
			}
		}
		if held == 0 || held > 64 {
			t.Errorf("strangers hold %d connections; want some, and 64 at most", held)
		}
		for range 6 {
			if err := p.client(t, root(0)).Restart(t.Context(), "web"); err != nil {
				t.Errorf("domain 0's root: %v", err)
			}
		}
		for _, c := range open {
			c.Close()
		}
		synctest.Wait()
	})
}

func TestAStrangersPlaceIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, &fake{})
		for i := range 20 {
			c := control.NewClient(p.Raw(root(5)), varlink.Limits{})
			if _, err := c.Status(t.Context()); !errors.Is(err, control.ErrDenied) {
				t.Fatalf("stranger %d: %v", i, err)
			}
			c.Close()
			synctest.Wait()
		}
	})
}

func TestASilentStrangerIsDroppedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, &fake{})
		for _, c := range []struct {
			name   string
			caller services.Caller
			want   time.Duration
		}{
			{"another domain", root(5), 5 * time.Second},
			{"the toolstack", root(0), 5 * time.Minute},
		} {
			conn := p.Dial(t, c.caller)
			began := time.Now()
			if _, err := conn.Read(make([]byte, 1)); err != io.EOF || time.Since(began) != c.want {
				t.Errorf("%s: %v after %v; want the end after %v", c.name, err, time.Since(began), c.want)
			}
		}
	})
}

func TestFloodOfCallsIsSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, &fake{})
		p.CheckPace(t, root(0), `{"method":"org.xvsock.Domain.Status"}`)
		p.CheckPace(t, root(5), `{"method":"org.xvsock.Domain.Status"}`)
	})
}

func TestGarbageEndsTheConnection(t *testing.T) {
	for why, text := range map[string]string{
		"no JSON":       "GET / HTTP/1.1\r\n\r\n",
		"two names":     `{"method":"org.xvsock.Domain.Shutdown","Method":"org.xvsock.Domain.Status","parameters":{"reboot":false}}` + "\n",
		"half a call":   `{"method":"org.xvsock.Domain.Shutdown","parameters":{"reboot":false}}`,
		"a long call":   `{"method":"` + strings.Repeat("x", 70000),
		"deep nesting":  `{"method":"org.xvsock.Domain.Shutdown","parameters":` + strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 41) + "\n",
		"invalid UTF-8": "{\"method\":\"org.xvsock.Domain.Shutdown\",\"parameters\":{\"reboot\":false,\"x\":\"\xff\"}}\n",
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{}
			p := start(t, f)
			conn := p.Dial(t, root(0))
			go io.WriteString(conn, text)
			got, _ := bufio.NewReader(conn).ReadString('\n')
			if !strings.Contains(got, `"error"`) || f.said() != "" {
				t.Errorf("%s: answered %q, ordered %q", why, got, f.said())
			}
		})
	}
}

// Whatever strangers send, nothing is done and nothing told.
func FuzzStrangers(f *testing.F) {
	f.Add([]byte(`{"method":"org.xvsock.Domain.Shutdown","parameters":{"reboot":false}}` + "\n"))
	f.Add([]byte(`{"method":"org.xvsock.Domain.Config","more":true}` + "\x00"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		d := &fake{settings: control.Settings{Problems: []string{"secret"}}}
		conn := start(t, d).Raw(user(0))
		conn.SetDeadline(time.Now().Add(20 * time.Millisecond))
		go conn.Write(sent)
		got, _ := io.ReadAll(conn)
		conn.Close()
		if strings.Contains(string(got), `"parameters"`) || d.said() != "" {
			t.Fatalf("%q was answered by %q, ordered %q", sent, got, d.said())
		}
	})
}

// Whatever the toolstack sends, only whole orders are done.
func FuzzOrders(f *testing.F) {
	f.Add([]byte(`{"reboot":false}`))
	f.Add([]byte(`{"level":"warn"}`))
	f.Add([]byte(`{"service":"web"}`))
	f.Fuzz(func(t *testing.T, parameters []byte) {
		for i, method := range []string{"Shutdown", "SetLog", "Restart"} {
			d := &fake{}
			conn := start(t, d).Raw(root(0))
			conn.SetDeadline(time.Now().Add(time.Second))
			go fmt.Fprintf(conn, `{"method":"org.xvsock.Domain.%s","parameters":%s}`+"\n", method, parameters)
			got, _ := bufio.NewReader(conn).ReadString('\n')
			conn.Close()
			done := d.said() != ""
			if member := []string{`"reboot"`, `"level"`, `"service"`}[i]; done && !strings.Contains(string(parameters), member) && !strings.Contains(string(parameters), `\u`) {
				t.Fatalf("%s with %q: done %q, answered %q", method, parameters, d.said(), got)
			}
		}
	})
}

// hostile returns a client whose peer answers the first call with the text, over and
// over if endless.
func hostile(t *testing.T, text string, endless bool) *control.Client {
	a, b := net.Pipe()
	go func() {
		defer b.Close()
		bufio.NewReader(b).ReadString(0)
		for {
			if _, err := io.WriteString(b, text); err != nil || !endless {
				return
			}
		}
	}()
	c := control.NewClient(a, varlink.Limits{})
	t.Cleanup(func() { c.Close() })
	return c
}
