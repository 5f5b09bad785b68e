package manager_test

import (
	"context"
	"encoding/hex"
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"xvsock/manager/port1"
	"xvsock/toolstack"
	"xvsock/vsock"
)

// serve accepts connections on ports of s and keeps them.
func serve(t *testing.T, s *vsock.Stack, ports ...uint32) {
	for _, port := range ports {
		l, err := s.Listen(port)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				if _, err := l.Accept(); err != nil {
					return
				}
			}
		}()
	}
}

// attempt is one Dial and what is to come of it.
type attempt struct {
	name string
	from func(*vsock.Stack, context.Context, vsock.Addr) (*vsock.Conn, error)
	out  bool // from the backend to the frontend
	port uint32
	want error
}

var (
	anyProgram = (*vsock.Stack).Dial
	theDaemon  = (*vsock.Stack).DialPrivileged
)

// Connections over the front link go by the rules, but for what attaching is the
// consent to.
func TestConnectionsWithTheBackendGoByTheRules(t *testing.T) {
	for rules, attempts := range map[string][]attempt{
		"": {
			{"the directory", anyProgram, false, 2, nil},
			{"another port", anyProgram, false, 7, syscall.EHOSTUNREACH},
			{"the frontend's discovery, by the daemon", theDaemon, true, 2, nil},
			{"the frontend's log, by the daemon", theDaemon, true, 6, nil},
			{"the frontend's echo, by the daemon", theDaemon, true, 7, syscall.EHOSTUNREACH},
			{"the frontend's discovery, by a program", anyProgram, true, 2, syscall.EHOSTUNREACH},
		},
		"7 web @backend allow": {
			{"an allowed port", anyProgram, false, 7, nil},
			{"another port", anyProgram, false, 8, syscall.EACCES},
			{"the other way", anyProgram, true, 7, syscall.EHOSTUNREACH},
		},
		"7 @backend web allow": {
			{"an allowed port", anyProgram, true, 7, nil},
			{"another port", anyProgram, true, 2, syscall.EACCES},
			{"the other way", anyProgram, false, 7, syscall.EHOSTUNREACH},
		},
		"7 other @backend allow": {{"somebody else's port", anyProgram, false, 7, syscall.EHOSTUNREACH}},
	} {
		t.Run(rules, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, true)
				r.policy(rules)
				serve(t, r.stack, 2, 7, 8)
				web := r.guest("web") // which is served on port 1
				web.up()
				serve(t, web.stack, 2, 6, 7)
				for _, a := range attempts {
					s, addr := web.stack, vsock.Addr{CID: vsock.CIDBackend, Port: a.port}
					if a.out {
						s, addr.CID = r.stack, uint32(web.dom.ID())
					}
					if _, err := a.from(s, t.Context(), addr); !errors.Is(err, a.want) {
						t.Errorf("%s: %v, want %v", a.name, err, a.want)
					}
					if a.port == 2 && !a.out && !r.manager.Allowed(web.dom.ID(), 0, 2) {
						t.Error("Allowed does not know what is built in")
					}
				}
			})
		})
	}
}

func TestAllowedTellsWhatIs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		r.policy("7 a b allow", "8 a @backend allow", "9 @backend b allow")
		a, b := r.create("a").ID(), r.create("b").ID()
		time.Sleep(time.Second)
		if got := len(r.manager.Domains()); got != 3 || !r.manager.Domains()[0].Backend {
			t.Errorf("domains are %v", r.manager.Domains())
		}
		for q, want := range map[[3]uint32]bool{
			{uint32(a), uint32(b), 7}: true, {uint32(b), uint32(a), 7}: false, {uint32(a), uint32(b), 8}: false,
			{uint32(a), 0, 8}: true, {uint32(b), 0, 8}: false, {uint32(a), 0, 2}: true, {uint32(a), uint32(b), 2}: false,
			{0, uint32(b), 9}: true, {0, uint32(a), 9}: false, {0, uint32(b), 2}: false,
			{uint32(a), uint32(a), 5}: true, {0, 0, 5}: true, {99, 0, 2}: false, {0, 99, 9}: false, {99, 99, 5}: false,
		} {
			if got := r.manager.Allowed(domid(q[0]), domid(q[1]), q[2]); got != want {
				t.Errorf("%v: %v, want %v", q, got, want)
			}
		}
		before := r.changes.Load()
		r.policy()
		if r.changes.Load() == before || r.manager.Allowed(a, b, 7) {
			t.Error("nobody is told that nothing is allowed any more")
		}
	})
}

// What the new rules forbid ends at once, what they allow goes on, and counts
// towards the rule that allows it now.
func TestAChangeOfPolicyEndsConnections(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		r.policy("7,8 web @backend allow")
		serve(t, r.stack, 7, 8)
		web := r.guest("web")
		web.up()
		dial := func(port uint32) (net.Conn, error) {
			return web.stack.Dial(t.Context(), vsock.Addr{CID: vsock.CIDBackend, Port: port})
		}
		c7, err7 := dial(7)
		c8, err8 := dial(8)
		if err := errors.Join(err7, err8); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 2)
		go func() { _, err := c7.Read(make([]byte, 1)); ended <- err }()
		begin := time.Now()
		r.policy("8 web @backend allow conns=2")
		select {
		case err := <-ended:
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("it ended with %v", err)
			}
		case <-time.After(time.Second):
			t.Errorf("it goes on after %v", time.Since(begin))
		}
		if _, err := c8.Write([]byte("on")); err != nil {
			t.Errorf("the other one: %v", err)
		}
		if _, err := dial(8); err != nil {
			t.Errorf("a second one: %v", err)
		}
		if _, err := dial(8); !errors.Is(err, syscall.ENOBUFS) {
			t.Errorf("a third one: %v", err)
		}
		c8.Close()
		time.Sleep(10 * time.Second) // the tuple lingers for a while
		if _, err := dial(8); err != nil {
			t.Errorf("in the place of the first: %v", err)
		}
		// A name that is another's ends them too.
		r.create("web")
		time.Sleep(time.Second)
		if _, err := dial(8); !errors.Is(err, syscall.EHOSTUNREACH) {
			t.Errorf("by a name of two: %v", err)
		}
		if n := web.stack.Peers()[0].Conns; n != 1 {
			t.Errorf("%d connections are left, want that to the manager alone", n)
		}
	})
}

func TestDecisionsAreLoggedWhereARuleSaysSo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		r.policy("7 web @backend allow log", "8 web @backend allow", "9 web @backend deny log")
		serve(t, r.stack, 7, 8)
		web := r.guest("web")
		web.up()
		for i, port := range []uint32{7, 8, 9, 7} {
			web.stack.Dial(t.Context(), vsock.Addr{CID: vsock.CIDBackend, Port: port})
			if want := []int{1, 1, 2, 3}[i]; r.log.count("policy") != want {
				t.Errorf("%d lines after port %d, want %d", r.log.count("policy"), port, want)
			}
		}
		other := r.guest("other")
		at := other.up()
		at.send(other.request(web.dom.ID(), 7))
		at.answer(1)
		if n := r.log.count("policy"); n != 3 {
			t.Errorf("%d lines after a request that no rule is about", n)
		}
		r.policy("7 web @backend allow log", "* other web deny log", "9 web @backend deny log")
		at.send(other.request(web.dom.ID(), 7))
		at.answer(2)
		if n := r.log.count("policy"); n != 4 {
			t.Errorf("%d lines after a request that a rule denies", n)
		}
		for range 100 {
			web.stack.Dial(t.Context(), vsock.Addr{CID: vsock.CIDBackend, Port: 9})
		}
		if n := r.log.count("policy"); n > 25 {
			t.Errorf("%d lines", n)
		}
	})
}

// A backend's domain may be a frontend of its own. It is one domain to the rules.
func TestTheBackendsDomainAsItsOwnFrontend(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		r.policy("7 * * allow")
		serve(t, r.stack, 7)
		self := r.guestIn(r.back)
		dom0 := toolstack.Domain{ID: 0, Name: "dom0"}
		if err := toolstack.Attach(t.Context(), r.tools, dom0, dom0, nil); err != nil {
			t.Fatal(err)
		}
		web := r.guest("web")
		atSelf, atWeb := self.up(), web.up()
		// Nor is it a peer to anybody who guesses.
		for who, to := range map[*talk]*guest{atSelf: web, atWeb: self} {
			q := who.g.request(to.dom.ID(), 7)
			attached, _ := r.manager.Identify(to.dom.ID())
			if n, err := hex.Decode(q.Attachment[:], []byte(attached.Attachment)); n != 16 || err != nil {
				t.Fatal(err)
			}
			who.send(q)
			if got := who.answer(q.ID); got.Result != port1.Unreachable {
				t.Errorf("a request to %v is answered %v", to.dom.ID(), got.Result)
			}
		}
		told(t, self, "")
		told(t, web, "")
		if got := len(r.manager.Domains()); got != 2 {
			t.Errorf("domains are %+v", r.manager.Domains())
		}
		if _, err := self.stack.Dial(t.Context(), vsock.Addr{CID: vsock.CIDBackend, Port: 7}); err != nil {
			t.Errorf("to the backend: %v", err)
		}
	})
}
