package daemon_test

import (
	"context"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"xvsock/daemon"
	"xvsock/sim"
	"xvsock/xenstore"
)

// party is who dies in TestNothingIsLeftWhoeverDiesAtAnyStep.
type party int

const (
	initiator party = iota
	responder
	theManager
)

var partyNames = [...]string{"the initiator", "the responder", "the manager"}

// trio is a host with a manager and two domains that may connect to each other.
type trio struct {
	*host
	nodes [3]*node // by party
}

func newTrio(t *testing.T) *trio {
	r := &trio{host: newHost(t)}
	r.nodes[theManager] = r.backend()
	for p, name := range map[party]string{initiator: "a", responder: "b"} {
		r.nodes[p] = start(t, r.create(name), daemon.Frontend, nil)
	}
	r.settle()
	return r
}

// settle waits until all is up, and every link that nobody uses is gone.
func (r *trio) settle() {
	r.t.Helper()
	await(r.t, "up", 10*time.Second, func() string {
		for _, p := range []party{initiator, responder} {
			if !slices.ContainsFunc(r.nodes[p].status().Links, func(l daemon.Link) bool { return l.Kind == "peer" }) {
				return partyNames[p] + " is not told of its peer"
			}
		}
		return "up"
	})
	time.Sleep(3 * time.Minute)
	synctest.Wait()
}

// restart starts a party's daemon again.
func (r *trio) restart(p party) {
	r.t.Helper()
	if p == theManager {
		r.nodes[p] = r.backend()
	} else {
		r.nodes[p] = start(r.t, r.nodes[p].dom, daemon.Frontend, nil)
	}
}

// held is everything that the three hold.
type held struct {
	Granted, Ports, Watches [3]int
	Goroutines              int // one process runs all daemons
	Nodes                   []string
}

func (r *trio) held() (h held) {
	r.t.Helper()
	for p, n := range r.nodes {
		h.Granted[p], h.Ports[p], h.Watches[p] = n.dom.Granted(), n.dom.Ports(), n.status().Watches
	}
	h.Goroutines = goroutines()
	store := r.Toolstack()
	defer store.Close()
	h.Nodes = tree(r.t, store, "/")
	return h
}

// goroutines counts those of the test's bubble: the runtime's own come and go.
func goroutines() int {
	synctest.Wait() // until what was asked has ended too
	stacks := make([]byte, 1<<20)
	return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "synctest bubble")
}

// tree lists all nodes below dir.
func tree(t *testing.T, store *xenstore.Client, dir string) (all []string) {
	names, err := store.List(t.Context(), dir)
	if err != nil {
		return nil
	}
	slices.Sort(names)
	for _, name := range names {
		node := path.Join(dir, name)
		all = append(append(all, node), tree(t, store, node)...)
	}
	return all
}

// connect has the initiator, and if crossing the responder as well, connect to the
// other one, and returns once both attempts have ended.
func (r *trio) connect(crossing bool) {
	done := make(chan error, 2)
	attempts := 1
	ping := func(from party, to string) {
		ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
		defer cancel()
		done <- r.nodes[from].control.call(ctx, daemon.MethodPing, daemon.PingArgs{Domain: to, Bytes: 1000}, nil)
	}
	go ping(initiator, "b")
	if crossing {
		attempts++
		go ping(responder, "a")
	}
	for range attempts {
		<-done
	}
}

// Both ends and the manager die at every call that they make on their devices while
// a link is brokered, made and used. Afterwards everything is as before, and the
// next attempt succeeds.
func TestNothingIsLeftWhoeverDiesAtAnyStep(t *testing.T) {
	for _, crossing := range []bool{false, true} {
		for _, victim := range []party{initiator, responder, theManager} {
			name := partyNames[victim] + " dies"
			if crossing {
				name += " and requests cross"
			}
			t.Run(name, func(t *testing.T) {
				steps := 0
				for dieAt(t, victim, steps+1, crossing) {
					steps++
					if testing.Short() {
						steps += 2
					}
				}
				if steps < 10 {
					t.Errorf("only %d steps: is there anything brokered?", steps)
				}
				t.Logf("%d steps", steps)
			})
		}
	}
}

// dieAt kills the victim at its call of that number, and reports whether it makes so
// many.
func dieAt(t *testing.T, victim party, step int, crossing bool) (died bool) {
	synctest.Test(t, func(t *testing.T) {
		r := newTrio(t)
		before := r.held()
		at := r.killAt(victim, int64(step))
		r.connect(crossing)
		time.Sleep(70 * time.Second) // until the link that nobody uses has gone, too
		r.Hook(nil)
		synctest.Wait() // for a call that had been asked about already
		if died = at() != ""; died {
			r.nodes[victim].kill()
			time.Sleep(15 * time.Second) // longer than any half-made link lives
			r.restart(victim)
		}
		r.settle()
		if diff := cmp.Diff(before, r.held()); diff != "" {
			t.Errorf("dead at step %d (%s): held before and after (-before +after):\n%s", step, at(), diff)
		}
		for _, p := range []party{initiator, responder} {
			if err := r.nodes[p].ping(map[party]string{initiator: "b", responder: "a"}[p], 1000); err != nil {
				t.Errorf("dead at step %d (%s): afterwards: %v", step, at(), err)
			}
		}
	})
	return died
}

// killAt kills the victim's process at its call of that number. The function that it
// returns says which call that was, "" if it has not come yet.
func (r *trio) killAt(victim party, step int64) func() string {
	var calls atomic.Int64
	var at atomic.Pointer[string]
	proc := r.nodes[victim].proc
	r.Hook(func(c *sim.Call) error {
		if c.Process == proc && calls.Add(1) == step {
			text := fmt.Sprint(c.Op)
			at.Store(&text)
			proc.Kill()
		}
		return nil
	})
	return func() string {
		if text := at.Load(); text != nil {
			return strings.TrimSpace(*text)
		}
		return ""
	}
}
