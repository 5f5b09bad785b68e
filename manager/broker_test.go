package manager_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/link"
	"xvsock/manager"
	"xvsock/manager/port1"
	"xvsock/sim"
	"xvsock/xen"
)

// trio is three guests who are told all of each other.
func (r *rig) trio(change ...func(*guest)) (a, b, c *talk) {
	r.t.Helper()
	r.policy("7-9 * * allow")
	var all [3]*talk
	for i, name := range []string{"a", "b", "c"} {
		g := r.guest(name, change...)
		all[i] = g.up()
	}
	time.Sleep(time.Second)
	return all[0], all[1], all[2]
}

// linked checks that two guests have a link brokered, and nobody else lost anything.
func (r *rig) linked(a, b *talk) {
	r.t.Helper()
	if got := a.connect(b.g, 7); got.Result != port1.OK {
		r.t.Errorf("a request of %v to %v is answered %v", a.g.dom.ID(), b.g.dom.ID(), got.Result)
	}
}

// status is what the manager says of a guest.
func (r *rig) status(g *guest) manager.Frontend {
	for _, f := range r.manager.Frontends() {
		if f.Domain == g.dom.ID() {
			return f
		}
	}
	return manager.Frontend{}
}

func TestALinkIsBrokered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		a, b, _ := r.trio()
		q := a.g.request(b.g.dom.ID(), 7)
		a.send(q)
		i := b.indicated()
		want := port1.ConnectInd{ID: i.ID, Domain: a.g.dom.ID(), Attachment: b.g.peers[a.g.dom.ID()].Attachment, Port: 7, Terms: q.Terms}
		if i != want || i.ID == q.ID {
			t.Errorf("CONNECT_ind is %+v, want %+v", i, want)
		}
		rsp := a.answer(q.ID)
		if rsp != (port1.ConnectRsp{ID: q.ID, Terms: port1.Terms{Generation: q.Terms.Generation, Header: 7, Events: 8}}) {
			t.Errorf("CONNECT_rsp is %+v", rsp)
		}
		for g, peer := range map[*guest]*guest{a.g: b.g, b.g: a.g} {
			s := r.status(g)
			if len(s.Links) != 1 || s.Links[0] != (manager.PeerLink{Peer: peer.dom.ID(), Generation: q.Terms.Generation}) {
				t.Errorf("links are %v", s.Links)
			}
			if s.Use != (manager.Use{Requests: s.Use.Requests, Links: 1}) || !s.Greeted {
				t.Errorf("status is %+v", s)
			}
		}
		// Another link of the pair takes its place.
		if got := b.connect(a.g, 7); got.Result != port1.OK {
			t.Errorf("the next request is answered %v", got.Result)
		}
		if s := r.status(a.g); len(s.Links) != 1 || s.Links[0].Generation == q.Terms.Generation {
			t.Errorf("links are %v", s.Links)
		}
	})
}

func TestRequestsThatAreRefused(t *testing.T) {
	unknown := port1.Attachment{1, 2, 3}
	for name, c := range map[string]struct {
		rules string
		ask   func(q *port1.ConnectReq)
		want  port1.Result
	}{
		"another port is allowed":        {rules: "7 a b allow", ask: func(q *port1.ConnectReq) { q.Port = 8 }, want: port1.Denied},
		"only the other way":             {rules: "7 b a allow", want: port1.Unreachable},
		"nothing is allowed":             {rules: "7 a a allow", want: port1.Unreachable},
		"no such domain":                 {rules: "7 * * allow", ask: func(q *port1.ConnectReq) { q.Domain = 99 }, want: port1.Unreachable},
		"an attachment that is not":      {rules: "7 * * allow", ask: func(q *port1.ConnectReq) { q.Attachment = unknown }, want: port1.Unreachable},
		"the backend's own domain":       {rules: "7 * * allow", ask: func(q *port1.ConnectReq) { q.Domain = 0 }, want: port1.Unreachable},
		"the asker itself":               {rules: "7 * * allow", ask: func(q *port1.ConnectReq) { q.Domain = 1 }, want: port1.Unreachable},
		"the manager's port":             {rules: "* * * allow", ask: func(q *port1.ConnectReq) { q.Port = 1 }, want: port1.Denied},
		"allowed to the backend by rule": {rules: "7 a @backend allow", ask: func(q *port1.ConnectReq) { q.Domain = 0 }, want: port1.Unreachable},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, true)
				r.policy(c.rules)
				a, b := r.guest("a"), r.guest("b")
				ta, tb := a.up(), b.up()
				time.Sleep(time.Second)
				q := a.request(b.dom.ID(), 7)
				if c.ask != nil {
					c.ask(&q)
				}
				ta.send(q)
				if got := ta.answer(q.ID); got != (port1.ConnectRsp{ID: q.ID, Result: c.want}) {
					t.Errorf("answer is %+v, want %v", got, c.want)
				}
				synctest.Wait()
				if len(tb.inds) != 0 {
					t.Error("the other one was told")
				}
				if s := r.status(a); s.Denied != 1 || s.Use.HalfOpen != 0 {
					t.Errorf("status is %+v", s)
				}
			})
		})
	}
}

func TestAResponderThatIsNotThere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		a, _, _ := r.trio()
		silent := r.guest("silent", func(g *guest) { g.silent = true })
		silent.begun()
		absent := r.create("absent")
		time.Sleep(time.Second)
		if got := a.connect(silent, 7); got.Result != port1.ShuttingDown {
			t.Errorf("one that has not said HELLO: %v", got.Result)
		}
		if got := a.connect(newGuest(t, absent), 7); got.Result != port1.ShuttingDown {
			t.Errorf("one whose link is not up: %v", got.Result)
		}
	})
}

func TestTheRespondersRefusalIsToldTheInitiator(t *testing.T) {
	for _, result := range []port1.Result{port1.Denied, port1.Refused, port1.Forbidden, port1.ShuttingDown} {
		bubble(t, func(t *testing.T) {
			r := newRig(t, true)
			a, b, _ := r.trio(func(g *guest) {
				g.agree = func(i port1.ConnectInd) port1.ConnectAck { return port1.ConnectAck{ID: i.ID, Result: result} }
			})
			if got := a.connect(b.g, 7); got.Result != result {
				t.Errorf("answer is %v, want %v", got.Result, result)
			}
			if s := r.status(a.g); len(s.Links) != 0 || s.Use.HalfOpen != 0 {
				t.Errorf("status is %+v", s)
			}
			if got := a.connect(b.g, 7); got.Result != result {
				t.Errorf("the next answer is %v, want %v", got.Result, result)
			}
		})
	}
}

func TestAccessIsLimitedToWhatPolicyAllows(t *testing.T) {
	for rule, want := range map[string]port1.Access{"7 a b allow": port1.AccessCopy, "7 a b allow access=map": port1.AccessMap} {
		bubble(t, func(t *testing.T) {
			r := newRig(t, true)
			r.policy(rule)
			a, b := r.guest("a"), r.guest("b")
			ta, tb := a.up(), b.up()
			time.Sleep(time.Second)
			q := a.request(b.dom.ID(), 7)
			q.Terms.Access = port1.AccessMap
			ta.send(q)
			if i := tb.indicated(); i.Terms.Access != want {
				t.Errorf("%s: CONNECT_ind has access %v", rule, i.Terms.Access)
			}
			if got := ta.answer(q.ID); got.Result != port1.OK {
				t.Errorf("answer is %v", got.Result)
			}
		})
	}
}

func TestCrossingRequestsMakeOneLink(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		a, b, _ := r.trio(func(g *guest) { g.unanswered = true })
		qa, qb := a.g.request(b.g.dom.ID(), 7), b.g.request(a.g.dom.ID(), 7)
		a.send(qa)
		ind := b.indicated()
		b.send(qb)
		if got := b.answer(qb.ID); got.Result != port1.Crossed {
			t.Errorf("the second request is answered %v", got.Result)
		}
		b.send(b.g.agree(ind))
		if got := a.answer(qa.ID); got.Result != port1.OK || got.Terms.Generation != qa.Terms.Generation {
			t.Errorf("the first request is answered %+v", got)
		}
		if len(a.inds) != 0 {
			t.Error("the first one was asked too")
		}
	})
}

// The CONNECT_ind comes before CROSSED, whatever the writer was busy with.
func TestCrossedIsSaidAfterWhatIsCrossed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		a, b, _ := r.trio(func(g *guest) { g.unanswered = true })
		for range 200 {
			qa, qb := a.g.request(b.g.dom.ID(), 7), b.g.request(a.g.dom.ID(), 7)
			go a.send(qa)
			go b.send(qb)
			var first, second *talk
			var q port1.ConnectReq
			select {
			case got := <-a.rsps:
				first, second, q = b, a, qb
				if got.Result != port1.Crossed || len(a.inds) != 1 {
					t.Fatalf("answer is %v, with %d CONNECT_inds before", got.Result, len(a.inds))
				}
			case got := <-b.rsps:
				first, second, q = a, b, qa
				if got.Result != port1.Crossed || len(b.inds) != 1 {
					t.Fatalf("answer is %v, with %d CONNECT_inds before", got.Result, len(b.inds))
				}
			}
			second.send(second.g.agree(second.indicated()))
			if got := first.answer(q.ID); got.Result != port1.OK {
				t.Fatalf("the other answer is %v", got.Result)
			}
			time.Sleep(50 * time.Millisecond)
		}
	})
}

func TestAResponderThatDoesNotAnswerIsTimedOut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		a, b, c := r.trio(func(g *guest) { g.unanswered = true })
		begin := time.Now()
		if got := a.connect(b.g, 7); got.Result != port1.TimedOut || time.Since(begin) != 4*time.Second {
			t.Errorf("answer is %v after %v", got.Result, time.Since(begin))
		}
		ind := b.indicated()
		if s := r.status(a.g); s.Use.HalfOpen != 0 {
			t.Errorf("status is %+v", s)
		}
		c.send(c.g.request(b.g.dom.ID(), 7))
		b.send(b.g.agree(b.indicated()))
		// The late answer is no crime, once.
		b.send(b.g.agree(ind))
		synctest.Wait()
		if s := r.status(b.g); s.Late != 1 || len(s.Links) != 1 {
			t.Errorf("status is %+v", s)
		}
		q := a.g.request(b.g.dom.ID(), 7)
		a.send(q)
		b.send(b.g.agree(b.indicated()))
		if got := a.answer(q.ID); got.Result != port1.OK {
			t.Errorf("after the late answer it is %v", got.Result)
		}
		b.send(b.g.agree(ind))
		r.ends(b, "a late answer twice", link.Broken)
	})
}

func TestHalfOpenRequestsAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		r.budgets.HalfOpen = 2
		r.stop()
		r.startManager()
		r.policy("7 * * allow")
		a := r.guest("a")
		var others []*guest
		for i := range 3 {
			g := r.guest(fmt.Sprint("r", i), func(g *guest) { g.unanswered = true })
			g.up()
			others = append(others, g)
		}
		ta := a.up()
		time.Sleep(time.Second)
		for i, o := range others {
			ta.send(a.request(o.dom.ID(), 7))
			if i < 2 {
				continue
			}
			if got := <-ta.rsps; got.ID != 3 || got.Result != port1.Budget {
				t.Errorf("the third request is answered %+v", got)
			}
		}
		if s := r.status(a); s.Use.HalfOpen != 2 {
			t.Errorf("status is %+v", s)
		}
	})
}

func TestLinksAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		r.budgets.Links = 2
		r.stop()
		r.startManager()
		r.policy("7 * * allow")
		a := r.guest("a")
		var others []*guest
		var theirs []*talk
		for i := range 3 {
			g := r.guest(fmt.Sprint("r", i))
			others, theirs = append(others, g), append(theirs, g.up())
		}
		ta := a.up()
		time.Sleep(time.Second)
		for i, want := range []port1.Result{port1.OK, port1.OK, port1.Budget} {
			if got := ta.connect(others[i], 7); got.Result != want {
				t.Errorf("request %d is answered %v, want %v", i, got.Result, want)
			}
		}
		// One in the place of another is not one more, and one that is gone does
		// not count.
		if got := ta.connect(others[0], 7); got.Result != port1.OK {
			t.Errorf("a link made again: %v", got.Result)
		}
		ta.send(port1.Hello{ID: 9})
		if got := ta.connect(others[2], 7); got.Result != port1.Budget {
			t.Errorf("after it has denied its links, which the others have still: %v", got.Result)
		}
		theirs[0].send(port1.Hello{ID: 9})
		time.Sleep(time.Second)
		if got := ta.connect(others[2], 7); got.Result != port1.OK {
			t.Errorf("after the others are gone: %v", got.Result)
		}
	})
}

// end ends one party of a brokering.
type end struct {
	name string
	do   func(*rig, *talk)
}

var ends = []end{
	{"its daemon is killed", func(_ *rig, t *talk) {
		t.g.kill()
		t.g.done <- nil // for the end of the test, which stops it again
	}},
	{"its domain is destroyed", func(_ *rig, t *talk) { t.g.dom.Destroy() }},
	{"it closes its connection", func(_ *rig, t *talk) { t.conn.Close() }},
	{"it is attached anew", func(r *rig, t *talk) { r.attach(t.g.dom, "renamed"); time.Sleep(200 * time.Millisecond) }},
}

// When one of two dies at any step, the other gets its answer, and nothing is left
// of the request.
func TestEitherPartyMayDieAtEveryStep(t *testing.T) {
	for _, e := range ends {
		for _, step := range []string{"initiator, indicated", "responder, indicated", "initiator, expired", "responder, expired"} {
			t.Run(e.name+": "+step, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					r := newRig(t, true)
					a, b, c := r.trio(func(g *guest) { g.unanswered = true })
					q := a.g.request(b.g.dom.ID(), 7)
					a.send(q)
					ind := b.indicated()
					over := step[len(step)-7:] == "expired"
					if over {
						a.answer(q.ID)
					}
					if step[:9] == "initiator" {
						e.do(r, a)
						time.Sleep(500 * time.Millisecond)
						b.send(b.g.agree(ind)) // late, but honest
						time.Sleep(100 * time.Millisecond)
						if s := r.status(b.g); s.Late != 1 || b.link.Err() != nil {
							t.Errorf("the responder: %+v, link: %v", s, b.link.Err())
						}
						b, a = a, b // b is the one that died
					} else {
						e.do(r, b)
						if got := over || a.answer(q.ID).Result == port1.ShuttingDown; !got {
							t.Error("the initiator is not told that the responder is gone")
						}
					}
					time.Sleep(time.Second)
					if s := r.status(a.g); s.Use.HalfOpen != 0 || a.link.Err() != nil {
						t.Errorf("who is left: %+v, link: %v", s, a.link.Err())
					}
					// The pair is as new, with the next conversation if there is one.
					if next, err := waitTalk(b.g, 10*time.Second); err == nil {
						<-next.hello
						time.Sleep(time.Second)
						q := a.g.request(b.g.dom.ID(), 7)
						a.send(q)
						next.send(b.g.agree(next.indicated()))
						if got := a.answer(q.ID); got.Result != port1.OK {
							t.Errorf("the next request is answered %v", got.Result)
						}
					}
					q = c.g.request(a.g.dom.ID(), 7)
					c.send(q)
					a.send(a.g.agree(a.indicated()))
					if got := c.answer(q.ID); got.Result != port1.OK {
						t.Errorf("a third one's request is answered %v", got.Result)
					}
				})
			})
		}
	}
}

// Rule R9: what was decided for one attachment is not good for the next.
func TestADecisionIsForTwoAttachments(t *testing.T) {
	for name, who := range map[string]func(a, b *talk) *talk{
		"the initiator": func(a, _ *talk) *talk { return a },
		"the responder": func(_, b *talk) *talk { return b },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, true)
				a, b, _ := r.trio(func(g *guest) { g.unanswered = true })
				q := a.g.request(b.g.dom.ID(), 7)
				a.send(q)
				ind := b.indicated()
				moved := who(a, b)
				r.attach(moved.g.dom, moved.g.dom.Name())
				time.Sleep(time.Second)
				b.send(b.g.agree(ind))
				if got := a.answer(q.ID); got != (port1.ConnectRsp{ID: q.ID, Result: port1.Unreachable}) {
					t.Errorf("answer is %+v", got)
				}
				if s := r.status(a.g); len(s.Links) != 0 {
					t.Errorf("status is %+v", s)
				}
				// Under the new one all is well.
				q = a.g.request(b.g.dom.ID(), 7)
				a.send(q)
				b.send(b.g.agree(b.indicated()))
				if got := a.answer(q.ID); got.Result != port1.OK {
					t.Errorf("the next answer is %v", got.Result)
				}
			})
		})
	}
}

func TestADomainWithAnothersOldIdInheritsNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		r.policy("7 a old allow", "8 * new allow")
		a := r.guest("a")
		old := r.host.Create(sim.DomainConfig{Name: "old"})
		r.attach(old, "old")
		g := r.guestIn(old)
		ta := a.up()
		g.up()
		told(t, a, "old >7-7")
		attachment := a.peers[old.ID()].Attachment
		old.Destroy()
		next := r.host.Create(sim.DomainConfig{Name: "new", ID: old.ID()})
		r.attach(next, "new")
		h := r.guestIn(next)
		h.up()
		told(t, a, "new >8-8")
		if next.ID() != old.ID() {
			t.Fatal("it has another id")
		}
		for _, c := range []struct {
			port       uint32
			attachment port1.Attachment
			want       port1.Result
		}{
			{7, attachment, port1.Unreachable},
			{8, attachment, port1.Unreachable},
			{7, a.peers[next.ID()].Attachment, port1.Denied},
			{8, a.peers[next.ID()].Attachment, port1.OK},
		} {
			q := a.request(next.ID(), c.port)
			q.Attachment = c.attachment
			ta.send(q)
			if got := ta.answer(q.ID); got.Result != c.want {
				t.Errorf("port %d of %x: %v, want %v", c.port, c.attachment[:4], got.Result, c.want)
			}
		}
	})
}

func TestPolicyMayChangeAtEveryStep(t *testing.T) {
	for _, step := range []string{"before the request", "indicated", "answered"} {
		t.Run(step, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, true)
				a, b, c := r.trio(func(g *guest) { g.unanswered = true })
				q := a.g.request(b.g.dom.ID(), 7)
				deny := func() { r.policy("7 c * allow", "7 * c allow") }
				var ind port1.ConnectInd
				want := port1.Unreachable
				if step == "before the request" {
					deny()
				}
				a.send(q)
				if step == "before the request" {
					synctest.Wait()
					if len(b.inds) != 0 {
						t.Error("b was asked")
					}
				} else {
					ind = b.indicated()
				}
				if step == "indicated" {
					deny()
					b.send(b.g.agree(ind))
				}
				if step == "answered" {
					b.send(b.g.agree(ind))
					want = port1.OK
				}
				if got := a.answer(q.ID); got.Result != want {
					t.Errorf("answer is %v, want %v", got.Result, want)
				}
				deny()
				told(t, a.g, "c <7-7 >7-7")
				told(t, b.g, "c <7-7 >7-7")
				q = c.g.request(b.g.dom.ID(), 7)
				c.send(q)
				b.send(b.g.agree(b.indicated()))
				if got := c.answer(q.ID); got.Result != port1.OK {
					t.Errorf("c's request is answered %v", got.Result)
				}
			})
		})
	}
}

func TestRequestsOverBudgetWait(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		a, b, _ := r.trio()
		begin := time.Now()
		const n = 300
		for i := range n {
			a.send(port1.ConnectReq{ID: uint64(i), Domain: 99, Port: 7})
		}
		for range n {
			<-a.rsps
		}
		// A burst of 100, then 50 a second.
		if took := time.Since(begin); took < 3900*time.Millisecond || took > 4100*time.Millisecond {
			t.Errorf("%d requests took %v", n, took)
		}
		if s := r.status(a.g); s.Denied != n || s.Delayed < n-100-5 {
			t.Errorf("status is %+v", s)
		}
		r.linked(b, a)
		// HELLO again is a request too.
		begin = time.Now()
		for range 50 {
			a.send(port1.Hello{ID: 5})
		}
		r.linked(a, b)
		if took := time.Since(begin); took < 900*time.Millisecond {
			t.Errorf("50 HELLOs took %v", took)
		}
	})
}

// Hostile behaviour 19: the flooder waits for itself, the others notice nothing,
// also where it is allowed to be fast.
func TestAFloodOfRequestsCostsTheFlooder(t *testing.T) {
	const flood = 100_000
	for name, c := range map[string]struct {
		budgets manager.Budgets
		denied  uint64 // of the flood, at least
	}{
		"budgets as usual":  {denied: 500},
		"a generous budget": {budgets: manager.Budgets{Requests: 10_000, Burst: 100_000}, denied: flood},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, true)
				r.budgets = c.budgets
				r.stop()
				r.startManager()
				evil, b, honest := r.trio()
				rate := func() (n int) {
					for end := time.Now().Add(10 * time.Second); time.Now().Before(end); n++ {
						r.linked(b, honest)
						time.Sleep(25 * time.Millisecond)
					}
					return n
				}
				alone := rate()
				flooding := make(chan struct{})
				go func() { defer close(flooding); evil.flood(flood) }()
				beside := rate()
				evil.conn.Close()
				<-flooding
				t.Logf("%d links alone, %d beside a flood of which %d were answered", alone, beside, r.status(evil.g).Denied)
				if beside*10 < alone*9 {
					t.Error("the honest ones suffer")
				}
				if n := r.status(evil.g).Denied; n < c.denied {
					t.Errorf("of the flood %d were answered, want %d at least", n, c.denied)
				}
			})
		})
	}
}

// flood sends requests for what there is not, as fast as they are taken.
func (t *talk) flood(n int) {
	t.conn.SetWriteDeadline(time.Time{}) // that of the last message
	var batch []byte
	for sent := 0; sent < n; {
		batch = batch[:0]
		for range 100 {
			batch = port1.ConnectReq{ID: uint64(sent), Domain: xen.DomID(sent % 5), Port: 1000}.Append(batch)
			sent++
		}
		if _, err := t.conn.Write(batch); err != nil {
			return
		}
	}
}

// What the manager's death leaves of a request is nothing, at any step.
func TestTheManagerMayDieAtEveryStep(t *testing.T) {
	for _, step := range []string{"indicated", "answered", "expired"} {
		t.Run(step, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, true)
				a, b, _ := r.trio(func(g *guest) { g.unanswered = true })
				q := a.g.request(b.g.dom.ID(), 7)
				a.send(q)
				ind := b.indicated()
				switch step {
				case "answered":
					b.send(b.g.agree(ind))
				case "expired":
					a.answer(q.ID)
				}
				r.kill()
				cause(t, a.link, 5*time.Second)
				r.startManager()
				r.policy("7 * * allow")
				a, b = a.g.up(), b.g.up()
				time.Sleep(time.Second)
				q = b.g.request(a.g.dom.ID(), 7)
				b.send(q)
				a.send(a.g.agree(a.indicated()))
				if got := b.answer(q.ID); got.Result != port1.OK {
					t.Errorf("the next request is answered %v", got.Result)
				}
			})
		})
	}
}
