package health_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/services"
	"xvsock/services/health"
)

const (
	up   = services.Serving
	down = services.NotServing
	none = services.Unknown
)

// watch follows for a second, in which change is run.
func watch(t *testing.T, c *health.Client, service string, change func()) (seen []services.State) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	go func() {
		time.Sleep(time.Millisecond)
		change()
	}()
	for s, err := range c.Watch(ctx, service) {
		if err != nil {
			break
		}
		seen = append(seen, s)
	}
	return seen
}

func TestWatchTellsEachChange(t *testing.T) {
	for _, c := range []struct {
		name, service string
		change        func(*domain)
		want          []services.State
	}{
		{"nothing happens", "web", func(*domain) {}, []services.State{up}},
		{"a service that flaps at once", "web", func(d *domain) { d.set("web", down); d.set("web", up); d.set("web", down) }, []services.State{up, down, up, down}},
		{"another service", "web", func(d *domain) { d.set("db", down) }, []services.State{up}},
		{"a service that goes", "web", func(d *domain) { d.registry.Remove("web") }, []services.State{up, none}},
		{"a service that comes", "new", func(d *domain) {
			d.registry.Add(services.Info{Name: "new", Port: 9})
			d.set("new", up)
		}, []services.State{none, down, up}},
		{"a hidden service", "secret", func(d *domain) { d.set("secret", down) }, []services.State{none}},
		{"the domain, by one service", "", func(d *domain) { d.set("web", down); d.set("web", up) }, []services.State{up, down, up}},
		{"the domain, by two services", "", func(d *domain) {
			d.set("web", down)
			d.set("db", down)
			d.set("web", up)
			d.set("db", up)
		}, []services.State{up, down, up}},
		{"the domain, by a hidden service", "", func(d *domain) { d.set("secret", down) }, []services.State{up}},
		{"the domain, by a service that goes while down", "", func(d *domain) { d.set("web", down); d.registry.Remove("web") }, []services.State{up, down, up}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := start(t, notSecret, "web", "db", "secret")
				got := watch(t, d.client(t, 5), c.service, func() { c.change(d) })
				if !slices.Equal(got, c.want) {
					t.Errorf("told %v; want %v", got, c.want)
				}
			})
		})
	}
}

// A watcher that has fallen behind the history is told the state of then.
func TestWatchGoesOnBehindTheHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := start(t, everything, "web", "db")
		conn := d.Dial(t, guest(5))
		io.WriteString(conn, `{"method":"org.xvsock.Health.Watch","parameters":{"service":"web"},"more":true}`+"\n")
		in := bufio.NewReader(conn)
		read := func() string {
			s, _ := in.ReadString('\n')
			return s
		}
		read()
		d.set("web", down) // the server is left sending this
		synctest.Wait()
		for range 600 {
			d.set("db", down)
			d.set("db", up)
		}
		d.set("web", up)
		if a, b := read(), read(); !strings.Contains(a, "NOT_SERVING") || !strings.Contains(b, `"SERVING"`) {
			t.Errorf("told %q, %q", a, b)
		}
	})
}

// A watcher that never reads costs its own connection and holds up nobody.
func TestSlowWatcherIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := start(t, everything, "web")
		conn := d.Dial(t, guest(9))
		io.WriteString(conn, `{"method":"org.xvsock.Health.Watch","more":true}`+"\n")
		bufio.NewReader(conn).ReadString('\n')
		began := time.Now()
		for range 200 {
			d.set("web", down)
			d.set("web", up)
		}
		if time.Since(began) > 0 {
			t.Errorf("the registry waited %v for the watcher", time.Since(began))
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if n, err := io.Copy(io.Discard, conn); err != nil || n != 0 {
			t.Errorf("the watcher's connection gave %d bytes, %v; want the end", n, err)
		}
	})
}

func TestWatchesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start(t, everything, "web").CheckStreams(t, `{"method":"org.xvsock.Health.Watch","more":true}`, "SERVING")
	})
}

// A watch that ends makes room for the next one, whichever way it ends.
func TestWatchesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := start(t, everything, "web")
		for i := range 20 {
			c := d.client(t, 5)
			ctx, cancel := context.WithCancel(t.Context())
			for s, err := range c.Watch(ctx, "") {
				if errors.Is(err, health.ErrLimitReached) {
					t.Fatalf("watch %d: %v", i, err)
				}
				if s == up && i%2 == 0 {
					break
				}
				cancel()
			}
			cancel()
			c.Close()
			synctest.Wait()
		}
	})
}

func TestManyWatchersOfManyServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := start(t, everything, "web", "db")
		results := make(chan []services.State)
		for caller := range uint16(10) {
			c := d.client(t, caller)
			go func() { results <- watch(t, c, "", func() {}) }()
		}
		synctest.Wait()
		d.set("db", down)
		want := fmt.Sprint([]services.State{up, down})
		for range 10 {
			if got := fmt.Sprint(<-results); got != want {
				t.Errorf("told %s; want %s", got, want)
			}
		}
	})
}
