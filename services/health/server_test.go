package health_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/services"
	"xvsock/services/health"
	"xvsock/services/varlink"
)

// The bytes of a conversation, as PROTOCOL tells them to other languages.
func TestConversation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := start(t, notSecret, "web", "secret", "db")
		d.set("db", services.NotServing)
		conn := d.Dial(t, guest(5))
		in := bufio.NewReader(conn)
		for _, c := range []struct{ call, want string }{
			{`{"method":"org.xvsock.Health.Check"}`, `{"parameters":{"state":"NOT_SERVING"}}`},
			{`{"method":"org.xvsock.Health.Check","parameters":{"service":""}}`, `{"parameters":{"state":"NOT_SERVING"}}`},
			{`{"method":"org.xvsock.Health.Check","parameters":{"service":"web"}}`, `{"parameters":{"state":"SERVING"}}`},
			{`{"method":"org.xvsock.Health.Check","parameters":{"service":"db"}}`, `{"parameters":{"state":"NOT_SERVING"}}`},
			{`{"method":"org.xvsock.Health.Check","parameters":{"service":"secret"}}`, `{"parameters":{"state":"SERVICE_UNKNOWN"}}`},
			{`{"method":"org.xvsock.Health.Check","parameters":{"service":"none"}}`, `{"parameters":{"state":"SERVICE_UNKNOWN"}}`},
			{`{"method":"org.xvsock.Health.Check","parameters":{"service":"\u001b[2J"}}`, `{"error":"org.varlink.service.InvalidParameter","parameters":{"parameter":"service"}}`},
			{`{"method":"org.xvsock.Health.Check","parameters":{"service":7}}`, `{"error":"org.varlink.service.InvalidParameter","parameters":{"parameter":"parameters"}}`},
			{`{"method":"org.xvsock.Health.Check","parameters":{"domain":"x"}}`, `{"error":"org.varlink.service.InvalidParameter","parameters":{"parameter":"parameters"}}`},
			{`{"method":"org.xvsock.Health.List"}`, `{"parameters":{"services":[{"name":"db","port":102,"state":"NOT_SERVING"},{"name":"web","port":100,"state":"SERVING"}]}}`},
			{`{"method":"org.xvsock.Health.List","parameters":{"service":"db"}}`, `{"error":"org.varlink.service.InvalidParameter","parameters":{"parameter":"parameters"}}`},
			{`{"method":"org.xvsock.Health.Watch"}`, `{"error":"org.varlink.service.ExpectedMore"}`},
			{`{"method":"org.xvsock.Health.Watch","more":true,"parameters":{"service":"-"}}`, `{"error":"org.varlink.service.InvalidParameter","parameters":{"parameter":"service"}}`},
			{`{"method":"org.varlink.service.GetInfo"}`, `{"parameters":{"vendor":"xvsock","product":"test","version":"1","url":"-","interfaces":["org.varlink.service","org.xvsock.Health"]}}`},
			{`{"method":"org.xvsock.Health.Watch","more":true}`, `{"parameters":{"state":"NOT_SERVING"},"continues":true}`},
		} {
			io.WriteString(conn, c.call+"\n")
			if got, err := in.ReadString('\n'); got != c.want+"\n" || err != nil {
				t.Errorf("%s:\n got %q, %v\nwant %q", c.call, got, err, c.want)
			}
		}
	})
}

func TestEveryMethodIsDescribed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := varlink.NewClient(start(t, everything).Dial(t, guest(5)), varlink.Limits{})
		for _, m := range regexp.MustCompile(`(?m)^method (\w+)`).FindAllStringSubmatch(health.Interface, -1) {
			err := c.Call(t.Context(), "org.xvsock.Health."+m[1], nil, nil)
			if errors.Is(err, &varlink.Error{Name: varlink.MethodNotFound}) {
				t.Errorf("%s is described and not there", m[1])
			}
		}
		var d varlink.Description
		err := c.Call(t.Context(), varlink.GetInterfaceDescription, map[string]string{"interface": "org.xvsock.Health"}, &d)
		if err != nil || d.Description != health.Interface {
			t.Errorf("description: %v", err)
		}
	})
}

func TestCheckTellsOnlyWhatTheCallerMaySee(t *testing.T) {
	for _, c := range []struct {
		name    string
		visible func(services.Caller, services.Entry) bool
		down    []string
		caller  uint16
		domain  services.State
		secret  services.State
		list    []string
	}{
		{"all is well", notSecret, nil, 0, services.Serving, services.Serving, []string{"secret", "web"}},
		{"one that is seen is down", notSecret, []string{"web"}, 5, services.NotServing, services.Unknown, []string{"web"}},
		{"one that is hidden is down", notSecret, []string{"secret"}, 5, services.Serving, services.Unknown, []string{"web"}},
		{"another caller sees it", notSecret, []string{"secret"}, 0, services.NotServing, services.NotServing, []string{"secret", "web"}},
		{"nothing is seen", func(services.Caller, services.Entry) bool { return false }, []string{"web"}, 5, services.Serving, services.Unknown, nil},
		{"no policy", nil, []string{"web"}, 0, services.Serving, services.Unknown, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := start(t, c.visible, "web", "secret")
				for _, name := range c.down {
					d.set(name, services.NotServing)
				}
				client := d.client(t, c.caller)
				if s, err := client.Check(t.Context(), ""); s != c.domain || err != nil {
					t.Errorf("the domain is %s, %v; want %s", s, err, c.domain)
				}
				if s, err := client.Check(t.Context(), "secret"); s != c.secret || err != nil {
					t.Errorf("secret is %s, %v; want %s", s, err, c.secret)
				}
				list, err := client.List(t.Context())
				var names []string
				for _, h := range list {
					names = append(names, h.Name)
				}
				if !slices.Equal(names, c.list) || err != nil {
					t.Errorf("List = %v, %v; want %v", names, err, c.list)
				}
			})
		})
	}
}

// The largest registry fits in one message.
func TestListOfAFullRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var names []string
		for i := range services.MaxServices {
			names = append(names, fmt.Sprintf("a-long-name-%03d", i))
		}
		list, err := start(t, everything, names...).client(t, 5).List(t.Context())
		if err != nil || len(list) != services.MaxServices {
			t.Errorf("List gave %d services, %v", len(list), err)
		}
	})
}

func TestConnectionsAreBoundedPerDomain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := start(t, everything, "web")
		for range 50 {
			d.Dial(t, guest(5))
		}
		synctest.Wait()
		if _, _, r, _ := d.server.Counts(); r != 42 {
			t.Errorf("%d of 50 connections were refused; want 42", r)
		}
		if _, err := d.client(t, 6).Check(t.Context(), ""); err != nil {
			t.Errorf("another domain: %v", err)
		}
	})
}

func TestStrangersAreNotServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := start(t, everything, "web")
		a, b := net.Pipe()
		d.Give(b) // Identify does not know it
		if n, err := a.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("a connection from nobody knows whom: %d, %v; want the end", n, err)
		}
	})
}

func TestFloodOfCallsIsSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start(t, everything, "web").CheckPace(t, guest(5), `{"method":"org.xvsock.Health.Check"}`)
	})
}

func TestHostileCallersLoseTheirConnection(t *testing.T) {
	for why, text := range map[string]string{
		"garbage":                "\x00\x01\x02",
		"half a call":            `{"method":"org.xvsock.Health.Check"`,
		"Service beside service": `{"method":"org.xvsock.Health.Check","parameters":{"service":"web","Service":"x"}}` + "\n",
		"an endless call":        `{"method":"` + strings.Repeat("x", 70000),
		"silence":                "",
	} {
		synctest.Test(t, func(t *testing.T) {
			d := start(t, everything, "web")
			conn := d.Dial(t, guest(5))
			go io.WriteString(conn, text)
			began := time.Now()
			if why == "Service beside service" {
				got, _ := bufio.NewReader(conn).ReadString('\n')
				if !strings.Contains(got, varlink.InvalidParameter) && !strings.Contains(got, varlink.Malformed) {
					t.Errorf("%s: %q", why, got)
				}
				return
			}
			io.Copy(io.Discard, conn)
			if d := time.Since(began); d > 6*time.Minute {
				t.Errorf("%s: the connection was kept for %v", why, d)
			}
		})
	}
}

// Whatever a caller sends, the server answers with messages, or not at all, and
// goes on.
func FuzzRequests(f *testing.F) {
	f.Add([]byte(`{"method":"org.xvsock.Health.Check","parameters":{"service":"web"}}` + "\n"))
	f.Add([]byte(`{"method":"org.xvsock.Health.Watch","more":true}` + "\n" + `{"method":"org.xvsock.Health.List"}` + "\x00"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		d := start(t, notSecret, "web", "secret")
		conn := d.Raw(guest(5))
		conn.SetDeadline(time.Now().Add(20 * time.Millisecond))
		go conn.Write(sent)
		got, _ := io.ReadAll(conn)
		conn.Close()
		if strings.Contains(string(got), `"secret"`) || strings.Contains(string(got), varlink.Internal) {
			t.Fatalf("%q was answered by %q", sent, got)
		}
		c := health.NewClient(d.Raw(guest(6)), varlink.Limits{})
		defer c.Close()
		if s, err := c.Check(t.Context(), "web"); s != services.Serving || err != nil {
			t.Fatalf("afterwards: %s, %v", s, err)
		}
	})
}
