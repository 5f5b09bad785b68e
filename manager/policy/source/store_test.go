package source

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/manager/policy"
	"xvsock/sim"
	"xvsock/toolstack"
	"xvsock/xenstore"
)

// nodes is policy in the xenstore of a simulated host, for a backend in a domU.
type nodes struct {
	t     *testing.T
	host  *sim.Host
	tools *xenstore.Client
	back  *sim.Domain
	store *xenstore.Client

	mu     sync.Mutex
	fail   error    // what reading ends with
	forged []string // what is read instead of the nodes, once
	reads  int
}

func newNodes(t *testing.T) *nodes {
	h := sim.NewTest(t)
	n := &nodes{t: t, host: h, tools: h.Toolstack(), back: h.Create(sim.DomainConfig{Name: "backend"})}
	n.store = n.back.NewProcess().Xenstore()
	t.Cleanup(func() { n.store.Close(); n.tools.Close() })
	return n
}

// push writes a set as the toolstack does.
func (n *nodes) push(rules ...string) {
	n.t.Helper()
	back := toolstack.Domain{ID: n.back.ID(), Name: n.back.Name(), UUID: n.back.UUID()}
	must(n.t, toolstack.PushPolicy(n.t.Context(), n.tools, back, rules))
}

// forge makes the next readings give what no toolstack would have written.
func (n *nodes) forge(rules ...string) {
	n.t.Helper()
	n.mu.Lock()
	n.forged = rules
	n.mu.Unlock()
	n.touch()
}

// touch makes a change that is none.
func (n *nodes) touch() {
	n.t.Helper()
	ctx := n.t.Context()
	version, err := n.tools.Read(ctx, toolstack.PolicyVersionPath(n.back.ID()))
	must(n.t, err)
	must(n.t, n.tools.Write(ctx, toolstack.PolicyVersionPath(n.back.ID()), version))
}

// read is the Reader of these nodes.
func (n *nodes) read(ctx context.Context) (rules []string, version string, err error) {
	n.mu.Lock()
	err, rules = n.fail, n.forged
	n.forged = nil
	n.reads++
	n.mu.Unlock()
	if err != nil || rules != nil {
		return rules, "", err
	}
	return toolstack.ReadPolicy(ctx, n.store, n.back.ID())
}

// failWith makes reading fail, or work again, and returns how often it was tried.
func (n *nodes) failWith(err error) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fail = err
	return n.reads
}

// source runs the source of these nodes.
func (n *nodes) source() *running {
	r := new(running)
	s := NewStore(n.store, toolstack.PolicyVersionPath(n.back.ID()), n.read, slog.New(&r.lines))
	r.state = s.State
	return start(n.t, s.Run, r)
}

func TestWhatIsPushedAppliesLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNodes(t)
		r := n.source()
		r.expect("")
		r.line("there is no policy: nothing is allowed")
		n.push(first, second)
		r.expect("xenstore:1: " + first + "\nxenstore:2: " + second + "\n")
		r.line("policy in force")
		if s := r.state(); s.Source != "/local/domain/1/xvsock/policy" || s.Rules != 2 || s.Error != "" {
			t.Errorf("state is %+v", s)
		}
		n.push(second)
		r.expect("xenstore:1: " + second + "\n")
		must(t, n.tools.Remove(t.Context(), r.state().Source))
		r.expect("")
	})
}

func TestABadPushIsRefusedWhole(t *testing.T) {
	for name, c := range map[string]struct {
		rules []string
		want  string
	}{
		"a rule that is none":          {[]string{second, broken}, "xenstore:2: "},
		"a rule that hides another":    {[]string{second, "# all well\n* * * allow"}, "xenstore:2: a line break in a rule"},
		"a rule that ends with a CR":   {[]string{second + "\r"}, "xenstore:1: "},
		"more rules than there can be": {slices.Repeat([]string{strings.Repeat("#", 4000)}, 300), "policy is too big"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNodes(t)
				n.push(first)
				r := n.source()
				r.expect("xenstore:1: " + first + "\n")
				n.forge(c.rules...)
				r.line(refusedLine)
				if s := r.state(); !strings.HasPrefix(s.Error, c.want) || s.Rules != 1 || s.RefusedSince.IsZero() {
					t.Errorf("state is %+v", s)
				}
				n.push(second)
				r.expect("xenstore:1: " + second + "\n")
				r.line("policy is good again")
				if s := r.state(); s.Error != "" {
					t.Errorf("state is %+v", s)
				}
			})
		})
	}
}

func TestAFailedReadingIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNodes(t)
		n.push(first)
		n.failWith(errors.New("no memory"))
		r := n.source()
		if said := r.line(refusedLine); !strings.Contains(said, "read policy: no memory") {
			t.Error(said)
		}
		n.failWith(nil)
		began := time.Now()
		r.expect("xenstore:1: " + first + "\n")
		if took := time.Since(began); took > retryPause {
			t.Errorf("tried again after %v", took)
		}
	})
}

func TestNothingRunsWhenNothingChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNodes(t)
		n.push(first, broken) // refused, but read well
		r := n.source()
		r.line(refusedLine)
		before := n.failWith(nil)
		time.Sleep(time.Hour)
		if after := n.failWith(nil); after != before {
			t.Errorf("read %d times in an idle hour", after-before)
		}
	})
}

func TestAFloodOfWritesIsReadAtABoundedRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNodes(t)
		n.push(first)
		r := n.source()
		r.expect("xenstore:1: " + first + "\n")
		before := n.failWith(nil)
		for range 1000 {
			time.Sleep(time.Millisecond)
			n.touch()
		}
		if reads := n.failWith(nil) - before; reads > 12 {
			t.Errorf("read %d times in a second", reads)
		}
	})
}

func TestRunEndsWithXenstore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNodes(t)
		s := NewStore(n.store, toolstack.PolicyVersionPath(n.back.ID()), n.read, nil)
		done := make(chan error)
		go func() { done <- s.Run(t.Context(), func(*policy.Set) {}) }()
		<-s.Ready()
		n.store.Close()
		if err := <-done; !errors.Is(err, xenstore.ErrClosed) {
			t.Error(err)
		}
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNodes(t)
		stop := errors.New("stop")
		ctx, cancel := context.WithCancelCause(t.Context())
		read := func(ctx context.Context) ([]string, string, error) {
			cancel(stop) // in the middle of reading
			return nil, "", ctx.Err()
		}
		s := NewStore(n.store, toolstack.PolicyVersionPath(n.back.ID()), read, nil)
		if err := s.Run(ctx, func(*policy.Set) { t.Error("applied") }); !errors.Is(err, stop) || s.State().Error != "" {
			t.Errorf("%v, %+v", err, s.State())
		}
	})
}
