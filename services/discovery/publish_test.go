package discovery_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"xvsock/services"
	"xvsock/services/discovery"
)

func TestPublishKeepsTheHostInformed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := discovery.NewHostDirectory(discovery.HostConfig{Visible: everything})
		h := start(t, d)
		self := domain(5, "db1")
		d.Join(self)
		r := services.NewRegistry()
		r.Add(services.Info{Name: "sql", Port: 5432})
		dials := 0
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			ended <- discovery.Publish(ctx, r, func(context.Context) (discovery.Registrar, error) {
				dials++
				return h.client(t, self), nil
			})
		}()
		expect := func(when string, want map[string]services.State) {
			t.Helper()
			time.Sleep(time.Second)
			synctest.Wait()
			got := make(map[string]services.State)
			list, _ := d.List(self, discovery.Filter{})
			for _, r := range list {
				got[r.Name] = r.State
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", when, diff)
			}
		}
		expect("at the start", map[string]services.State{"sql": services.NotServing})
		r.SetState("sql", services.Serving)
		r.Add(services.Info{Name: "log", Port: 6})
		expect("after changes", map[string]services.State{"sql": services.Serving, "log": services.NotServing})
		r.Remove("sql")
		expect("after a removal", map[string]services.State{"log": services.NotServing})
		r.Add(services.Info{Name: "sql", Port: 5432})
		r.SetState("sql", services.Serving)
		expect("after it came back", map[string]services.State{"log": services.NotServing, "sql": services.Serving})
		before := dials
		for range 100 {
			r.SetState("log", services.Serving)
			time.Sleep(time.Millisecond)
			r.SetState("log", services.NotServing)
			time.Sleep(time.Millisecond)
		}
		expect("after flapping", map[string]services.State{"log": services.NotServing, "sql": services.Serving})
		if dials-before > 2 {
			t.Errorf("a service that flapped for 0.2 s was told %d times", dials-before)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Publish = %v", err)
		}
	})
}

func TestPublishEndsWhenTheBackendRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, discovery.NewHostDirectory(discovery.HostConfig{Visible: everything}))
		r := services.NewRegistry()
		r.Add(services.Info{Name: "sql", Port: 5432})
		err := discovery.Publish(t.Context(), r, func(context.Context) (discovery.Registrar, error) {
			return h.client(t, domain(5, "db1")), nil // has not joined
		})
		if !errors.Is(err, discovery.ErrDenied) {
			t.Errorf("Publish = %v; want ErrDenied", err)
		}
	})
}
