package services_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"xvsock/services"
	"xvsock/services/journal"
)

func TestRegistryRefuses(t *testing.T) {
	r := services.NewRegistry()
	if err := r.Add(services.Info{Name: "web", Port: 80}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		err  error
		want error
	}{
		{"a bad name", r.Add(services.Info{Name: "a b", Port: 80}), services.ErrName},
		{"the same name twice", r.Add(services.Info{Name: "web", Port: 81}), services.ErrExists},
		{"the state of a stranger", r.SetState("db", services.Serving), services.ErrNotFound},
		{"a state that is none", r.SetState("web", "UP"), services.ErrState},
		{"the state that only an answer has", r.SetState("web", services.Unknown), services.ErrState},
		{"to remove a stranger", r.Remove("db"), services.ErrNotFound},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v; want %v", c.name, c.err, c.want)
		}
	}
	for i := range services.MaxServices - 1 {
		if err := r.Add(services.Info{Name: fmt.Sprint("s", i), Port: 1000}); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Add(services.Info{Name: "more", Port: 80}); !errors.Is(err, services.ErrFull) {
		t.Errorf("the 257th service: %v; want ErrFull", err)
	}
}

func TestRegistryKeepsItsOwnTxt(t *testing.T) {
	r := services.NewRegistry()
	txt := map[string]string{"k": "v"}
	if err := r.Add(services.Info{Name: "web", Port: 80, Txt: txt}); err != nil {
		t.Fatal(err)
	}
	txt["k"] = "\x1b"
	if list, _ := r.List(); list[0].Txt["k"] != "v" {
		t.Error("the txt changed behind the registry's back")
	}
}

func TestLaggingWatcherIsToldToListAgain(t *testing.T) {
	r := services.NewRegistry()
	_, start := r.List()
	if err := r.Add(services.Info{Name: "web", Port: 80}); err != nil {
		t.Fatal(err)
	}
	for range 600 {
		r.SetState("web", services.Serving)
		r.SetState("web", services.NotServing)
	}
	if _, _, err := r.Next(t.Context(), start, 10); !errors.Is(err, journal.ErrCompacted) {
		t.Errorf("Next after 1201 changes = %v; want ErrCompacted", err)
	}
}

// A watcher that starts from any List and follows Next always holds what the
// registry holds.
func TestRegistryAgainstModel(t *testing.T) {
	names := rapid.SampledFrom([]string{"a", "b", "c", "d"})
	rapid.Check(t, func(t *rapid.T) {
		r := services.NewRegistry()
		model := make(map[string]services.State)
		copied := make(map[string]services.State)
		_, at := r.List()
		done, cancel := context.WithCancel(context.Background())
		cancel()
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				n := names.Draw(t, "name")
				_, there := model[n]
				if err := r.Add(services.Info{Name: n, Port: 99}); (err == nil) == there {
					t.Fatalf("Add(%s) = %v, there before: %v", n, err, there)
				}
				if !there {
					model[n] = services.NotServing
				}
			},
			"state": func(t *rapid.T) {
				n := names.Draw(t, "name")
				s := rapid.SampledFrom([]services.State{services.Serving, services.NotServing}).Draw(t, "state")
				_, there := model[n]
				if err := r.SetState(n, s); (err == nil) != there {
					t.Fatalf("SetState(%s) = %v, there: %v", n, err, there)
				}
				if there {
					model[n] = s
				}
			},
			"remove": func(t *rapid.T) {
				n := names.Draw(t, "name")
				_, there := model[n]
				if err := r.Remove(n); (err == nil) != there {
					t.Fatalf("Remove(%s) = %v, there: %v", n, err, there)
				}
				delete(model, n)
			},
			"follow": func(t *rapid.T) {
				for {
					changes, revision, err := r.Next(done, at, 3)
					if errors.Is(err, context.Canceled) {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
					for _, c := range changes {
						if copied[c.Name] = c.State; c.Gone {
							delete(copied, c.Name)
						}
					}
					at = revision
				}
				if d := cmp.Diff(model, copied); d != "" {
					t.Fatalf("the watcher's copy differs (-model +copy):\n%s", d)
				}
			},
			"": func(t *rapid.T) {
				list, _ := r.List()
				got := make(map[string]services.State)
				for i, e := range list {
					got[e.Name] = e.State
					if i > 0 && list[i-1].Name >= e.Name {
						t.Fatal("the list is not in order")
					}
				}
				if d := cmp.Diff(model, got); d != "" {
					t.Fatalf("List differs (-model +got):\n%s", d)
				}
				if s := r.State("nobody"); s != services.Unknown {
					t.Fatalf("State(nobody) = %s", s)
				}
			},
		})
	})
}

// Whatever many writers do at once, a List and the changes after it lead to
// the same state.
func TestListAndChangesAgreeUnderConcurrency(t *testing.T) {
	r := services.NewRegistry()
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			name := fmt.Sprint("s", w%2)
			for range 50 {
				r.Add(services.Info{Name: name, Port: 99})
				r.SetState(name, services.Serving)
				r.Remove(name)
			}
			r.Add(services.Info{Name: name, Port: 99})
		})
	}
	list, at := r.List()
	copied := make(map[string]services.State)
	for _, e := range list {
		copied[e.Name] = e.State
	}
	writers.Wait()
	done, cancel := context.WithCancel(context.Background())
	cancel()
	for {
		changes, revision, err := r.Next(done, at, 7)
		if errors.Is(err, context.Canceled) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			if copied[c.Name] = c.State; c.Gone {
				delete(copied, c.Name)
			}
		}
		at = revision
	}
	final := make(map[string]services.State)
	list, _ = r.List()
	for _, e := range list {
		final[e.Name] = e.State
	}
	if d := cmp.Diff(final, copied); d != "" {
		t.Errorf("copy by changes differs (-registry +copy):\n%s", d)
	}
}
