package daemon_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/daemon"
	"xvsock/sim"
	"xvsock/toolstack"
)

// startPair starts the daemons of two frontends, a and b.
func (h *host) startPair() (a, b *node) {
	h.t.Helper()
	a = start(h.t, h.create("a"), daemon.Frontend, nil)
	b = start(h.t, h.create("b"), daemon.Frontend, nil)
	return a, b
}

// to is what a daemon says of its link to a domain; the zero value if it says
// nothing.
func (n *node) to(domain *node) daemon.Link {
	n.t.Helper()
	for _, l := range n.status().Links {
		if l.Domain == uint16(domain.dom.ID()) {
			return l
		}
	}
	return daemon.Link{}
}

// reaches says how a ping of a domain comes out.
func (n *node) reaches(domain *node) string {
	if err := n.ping(domain.dom.ID().String(), 1000); err != nil {
		return "no: " + code(err)
	}
	return "yes"
}

func TestPeersConnectByPolicyAndNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.rules = ""
		back := h.backend()
		a, b := h.startPair()
		time.Sleep(5 * time.Second)
		if got := a.reaches(b) + " " + fmt.Sprint(a.to(b).Kind); got != "no: Failed " {
			t.Errorf("without a rule: %s", got)
		}
		back.rules.set("7000 a b allow")
		time.Sleep(100 * time.Millisecond)
		if got := a.reaches(b); got != "no: Denied" {
			t.Errorf("with a rule for another port: %s", got)
		}
		back.rules.set("echo a b allow")
		await(t, "yes", time.Second, func() string { return a.reaches(b) })
		if l := a.to(b); l.State != "up" || l.Pages != 17 || !slices.Equal(l.Out, []string{"echo"}) || l.In != nil {
			t.Errorf("a says of its link: %+v", l)
		}
		if l := b.to(a); l.State != "up" || !slices.Equal(l.In, []string{"echo"}) || l.Out != nil {
			t.Errorf("b says of its link: %+v", l)
		}
		if got := b.reaches(a); got != "no: Failed" {
			t.Errorf("the other way: %s", got)
		}
		if l := back.to(a); len(l.Links) != 1 || l.Links[0].Name != "b" || l.Links[0].Generation != a.to(b).Generation {
			t.Errorf("the backend says of a's links: %+v", l.Links)
		}
		back.rules.set("")
		time.Sleep(time.Second)
		if got := a.reaches(b) + " " + a.to(b).Kind + b.to(a).Kind; got != "no: Failed " {
			t.Errorf("after the rule was taken away: %s", got)
		}
		if s := back.status(); s.Policy.Unconfirmed != 0 {
			t.Errorf("a second after the last change %d frontends have not confirmed", s.Policy.Unconfirmed)
		}
	})
}

func TestPeerLinksOutliveTheManager(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.rules = "echo a b allow\necho b a deny"
		back := h.backend()
		a, b := h.startPair()
		await(t, "yes", 5*time.Second, func() string { return a.reaches(b) })
		before := a.to(b).Generation
		for range 3 {
			back.kill()
			time.Sleep(20 * time.Second)
			if got := a.reaches(b); got != "yes" || a.to(b).Generation != before {
				t.Errorf("without a manager: %s, over %+v", got, a.to(b))
			}
			if l := a.to(back); !l.Backend || l.Up || l.State != "down" {
				t.Errorf("without a manager, a says of its backend: %+v", l)
			}
			back = h.backend()
			await(t, "a b", 5*time.Second, func() string {
				var up []string
				for _, l := range back.status().Links {
					if l.Up && len(l.Links) == 1 && l.Links[0].Generation == before {
						up = append(up, l.Name)
					}
				}
				return strings.Join(up, " ")
			})
			await(t, "Domain-0/discovery Domain-0/echo a/discovery a/echo b/discovery b/echo", 5*time.Second,
				func() string { return back.list("") })
			if got := a.reaches(b) + " " + b.reaches(a); got != "yes no: Failed" || a.to(b).Generation != before {
				t.Errorf("with a manager again: %s, over %+v", got, a.to(b))
			}
		}
	})
}

// A manager that starts with other rules ends what is not allowed any more.
func TestAManagerThatStartsEndsWhatItsRulesForbid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		back := h.backend()
		a, b := h.startPair()
		await(t, "yes", 5*time.Second, func() string { return a.reaches(b) })
		back.kill()
		h.rules = "discovery * * allow"
		h.backend()
		await(t, "no: Denied", 5*time.Second, func() string { return a.reaches(b) })
	})
}

func TestFrontendsMoveToAnotherManagerAndTheirLinksStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.rules = "echo a b allow"
		back := h.backend()
		a, b := h.startPair()
		await(t, "yes", 5*time.Second, func() string { return a.reaches(b) })
		before := a.to(b).Generation
		for i, destroy := range []bool{false, true} {
			next := h.Create(sim.DomainConfig{Name: fmt.Sprintf("manager-%d", i)})
			rules := newRules(t, h.rules)
			again := start(t, next, daemon.Backend, func(c *daemon.Config) { c.Rules = rules })
			if destroy {
				back.dom.Destroy()
				back.stop()
			}
			tools := h.Toolstack()
			moved, err := toolstack.Move(t.Context(), tools, toolstack.Domain{ID: next.ID()}, nil)
			tools.Close()
			if err != nil || len(moved) != 2 {
				t.Fatalf("moved %v: %v", moved, err)
			}
			await(t, "a b", 5*time.Second, func() string {
				var up []string
				for _, l := range again.status().Links {
					if l.Up && len(l.Links) == 1 {
						up = append(up, l.Name)
					}
				}
				return strings.Join(up, " ")
			})
			if got := a.reaches(b); got != "yes" || a.to(b).Generation != before {
				t.Errorf("after the move: %s, over %+v", got, a.to(b))
			}
			back = again
		}
		back.kill()
	})
}

func TestANameThatTwoDomainsCarryAllowsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.rules = "echo a b allow\ndiscovery a * allow"
		h.backend()
		a, b := h.startPair()
		await(t, "yes", 5*time.Second, func() string { return a.reaches(b) })
		twin := start(t, h.Create(sim.DomainConfig{Name: "b"}), daemon.Frontend, nil)
		h.attach(twin.dom)
		await(t, "no: Denied", time.Second, func() string { return a.reaches(b) })
		if got := a.reaches(twin); got != "no: Denied" {
			t.Errorf("the twin: %s", got)
		}
		twin.dom.Destroy()
		twin.stop()
		await(t, "yes", 5*time.Second, func() string { return a.reaches(b) })
	})
}

func TestADomainUnderAnEarlierOnesIDInheritsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		back := h.backend()
		a, b := h.startPair()
		back.rules.set("echo a uuid:" + b.dom.UUID() + " allow")
		await(t, "yes", 5*time.Second, func() string { return a.reaches(b) })
		id := b.dom.ID()
		b.dom.Destroy()
		b.stop()
		again := start(t, h.Create(sim.DomainConfig{Name: "b", ID: id}), daemon.Frontend, nil)
		h.attach(again.dom)
		time.Sleep(10 * time.Second)
		if got := a.reaches(again) + a.to(again).Kind; got != "no: Failed" {
			t.Errorf("another uuid under the same id and name: %s", got)
		}
		back.rules.set("echo a b allow")
		await(t, "yes", 5*time.Second, func() string { return a.reaches(again) })
	})
}

func TestDiscoveryTellsWhatMayBeReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.rules = "discovery a b allow"
		back := h.backend()
		a, b := h.startPair()
		await(t, "Domain-0/discovery a/discovery a/echo b/discovery", 10*time.Second, func() string { return a.list("") })
		if got := b.list(""); got != "Domain-0/discovery b/discovery b/echo" {
			t.Errorf("b sees %q", got)
		}
		if got := a.list("b"); got != "b/discovery" {
			t.Errorf("b tells a of %q", got)
		}
		back.rules.set("discovery,echo a b allow\necho a @backend allow")
		await(t, "Domain-0/discovery Domain-0/echo a/discovery a/echo b/discovery b/echo", time.Second,
			func() string { return a.list("") })
		await(t, "b/discovery b/echo", time.Second, func() string { return a.list("b") })
	})
}

// The backend's own programs need rules too, and lose them as others do.
func TestTheBackendsProgramsNeedRulesAsWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.rules = ""
		back := h.backend()
		a, b := h.startPair()
		for name, n := range map[string]*node{"a": a, "b": b} {
			await(t, name+"/discovery "+name+"/echo", 5*time.Second, func() string { return back.list(n.dom.ID().String()) })
		}
		if got := back.reaches(a) + " " + a.reaches(back); got != "no: Failed no: Failed" {
			t.Errorf("without a rule: %s", got)
		}
		back.rules.set("echo @backend a allow conns=1")
		if got := back.reaches(a) + " " + back.reaches(b); got != "yes no: Failed" {
			t.Errorf("with a rule for one domain: %s", got)
		}
	})
}

// At most as many frontends as xenstored has watches for.
func TestTheHundredAndFirstFrontendIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		next := h.Create(sim.DomainConfig{Name: "manager"})
		said := new(lines)
		back := start(t, next, daemon.Backend, func(c *daemon.Config) { c.Log = said.log() })
		tools := h.Toolstack()
		defer tools.Close()
		for i := range 101 {
			dom := h.Create(sim.DomainConfig{Name: fmt.Sprintf("web-%d", i)})
			d := toolstack.Domain{ID: dom.ID(), Name: dom.Name(), UUID: dom.UUID()}
			if err := toolstack.Attach(t.Context(), tools, d, toolstack.Domain{ID: next.ID()}, nil); err != nil {
				t.Fatal(err)
			}
		}
		await(t, "100", 30*time.Second, func() string { return fmt.Sprint(len(back.status().Links)) })
		await(t, "1", 5*time.Second, func() string { return fmt.Sprint(said.count("no more frontends")) })
		time.Sleep(time.Minute)
		if n := said.count("no more frontends"); n != 1 {
			t.Errorf("the refusal was said %d times", n)
		}
		for _, l := range back.status().Links {
			served := fmt.Sprintf("limit=100 refused=%d\n", l.Domain)
			if said.count(served) > 0 {
				t.Errorf("a domain that is served was refused: %s", served)
			}
		}
		if said.count("limit=100 refused=") != 1 {
			t.Errorf("the refusal does not say which and why: %s", said)
		}
	})
}
