package manager_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/manager/port1"
	"xvsock/toolstack"
)

// told checks what a guest knows now.
func told(t *testing.T, g *guest, want string) {
	t.Helper()
	time.Sleep(time.Second) // for the manager to notice what the toolstack did
	synctest.Wait()
	if got := g.knows(); got != want {
		t.Errorf("guest %v knows %q, want %q", g.dom.ID(), got, want)
	}
}

func TestAFrontendIsToldOfThePeersThatPolicyGivesIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		r.policy("7 web db allow", "100-200 db web allow", "80 * @backend allow")
		web, db, other := r.guest("web"), r.guest("db"), r.guest("other")
		web.up()
		db.up()
		other.up()
		told(t, web, "db <100-200 >7-7")
		told(t, db, "web <7-7 >100-200")
		told(t, other, "")

		r.policy("7-8 web db allow")
		told(t, web, "db >7-8")
		told(t, db, "web <7-8")

		db.mu.Lock()
		db.news = nil
		db.mu.Unlock()
		r.policy("9 other other allow", "7-8 web db allow") // the same for them
		told(t, db, "web <7-8")
		if db.news != nil {
			t.Errorf("db was told again: %v", db.news)
		}

		r.policy()
		told(t, web, "")
		told(t, db, "")
		if rev, n := r.manager.Progress(); rev != 4 || n != 0 {
			t.Errorf("revision %d, %d unconfirmed", rev, n)
		}
	})
}

func TestAPeerIsWhatTheToolstackSays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		r.policy("7 web @tag:db allow conns=3 rate=5 access=map ring=256K")
		web, db := r.guest("web"), r.guest("db")
		talk := web.up()
		db.up()
		told(t, web, "")
		r.attach(db.dom, "the db", "db", "fast")
		told(t, web, "the db >7-7")
		p := web.peers[db.dom.ID()]
		who, _ := r.manager.Identify(db.dom.ID())
		if fmt.Sprintf("%x", p.Attachment) != who.Attachment || strings.ReplaceAll(db.dom.UUID(), "-", "") != fmt.Sprintf("%x", p.UUID) {
			t.Errorf("the peer is %+v, the frontend %+v", p, who)
		}
		if p.Access != port1.AccessMap || p.Ring != 256<<10 || p.Out[0].Conns != 3 || p.Out[0].Rate != 5 || p.Out[0].Rule == 0 {
			t.Errorf("the peer is %+v", p)
		}
		// A new attachment is told, though all else is the same.
		before := p.Attachment
		r.attach(db.dom, "the db", "db")
		told(t, web, "the db >7-7")
		if web.peers[db.dom.ID()].Attachment == before {
			t.Error("the attachment is the old one")
		}
		r.attach(db.dom, "the db")
		told(t, web, "")
		if err := talk.link.Err(); err != nil {
			t.Error(err)
		}
	})
}

func TestTagsThatTheToolstackDoesNotWriteAreNone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		dom := r.create("web")
		dir := fmt.Sprintf("/local/domain/0/backend/xvsock/%v/0", dom.ID())
		for i, tags := range []string{"a b", "a  b", "a/b c", strings.Repeat("x ", 17), strings.Repeat("x", 33), ""} {
			want := 0
			if i < 2 {
				want = 2
			}
			if err := r.tools.Write(t.Context(), dir+"/tags", tags); err != nil {
				t.Fatal(err)
			}
			if err := r.tools.Write(t.Context(), dir+"/attachment", strings.Repeat(fmt.Sprint(i), 32)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if who, _ := r.manager.Identify(dom.ID()); len(who.Tags) != want {
				t.Errorf("tags of %q are %q", tags, who.Tags)
			}
		}
		// An older toolstack does not write them.
		if err := r.tools.Remove(t.Context(), dir+"/tags"); err != nil {
			t.Fatal(err)
		}
		r.tools.Write(t.Context(), dir+"/attachment", strings.Repeat("f", 32))
		time.Sleep(time.Second)
		if who, _ := r.manager.Identify(dom.ID()); !strings.HasPrefix(who.Attachment, "f") {
			t.Errorf("without the node it is %+v", who)
		}
		if n := r.log.count("tags of a frontend: it is taken to have none"); n != 3 {
			t.Errorf("%d warnings", n)
		}
	})
}

func TestANameOfTwoDomainsIsNobodys(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		r.policy("7 web db allow", "8 * * allow")
		web, db := r.guest("web"), r.guest("db")
		web.up()
		db.up()
		told(t, web, "db <8-8 >7-7 >8-8")
		twin := r.create("db")
		told(t, web, "db <8-8 >8-8, db <8-8 >8-8")
		for _, f := range r.manager.Frontends() {
			if f.Twin != (f.Name == "db") {
				t.Errorf("%v: twin is %v", f.Name, f.Twin)
			}
		}
		if err := toolstack.Detach(t.Context(), r.tools, toolstack.Domain{ID: twin.ID()}); err != nil {
			t.Fatal(err)
		}
		told(t, web, "db <8-8 >7-7 >8-8")
		// So it is with the backend's own name.
		r.policy("7 the-backend * allow", "8 web db allow")
		if !r.manager.Allowed(0, web.dom.ID(), 7) {
			t.Error("the backend's name is not its own")
		}
		r.attach(db.dom, "the-backend")
		told(t, web, "")
		if r.manager.Allowed(0, web.dom.ID(), 7) {
			t.Error("the backend's name is that of two")
		}
	})
}

func TestADomainThatIsGoneIsTold(t *testing.T) {
	for name, end := range map[string]func(*rig, *guest){
		"detached":  func(r *rig, g *guest) { toolstack.Detach(r.t.Context(), r.tools, toolstack.Domain{ID: g.dom.ID()}) },
		"destroyed": func(r *rig, g *guest) { g.dom.Destroy() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, true)
				r.policy("7 * * allow")
				web, db := r.guest("web"), r.guest("db")
				talk := web.up()
				db.up()
				told(t, web, "db <7-7 >7-7")
				end(r, db)
				told(t, web, "")
				if a := talk.connect(db, 7); a.Result != port1.Unreachable {
					t.Errorf("a request to it is answered %v", a.Result)
				}
			})
		})
	}
}

// A frontend that is up late, or again, is told all.
func TestHelloIsAnsweredByAllThatThereIs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		r.policy("7 * * allow")
		const n = 150 // more than may be unconfirmed
		for i := range n {
			r.create(fmt.Sprintf("d%03d", i))
		}
		web := r.guest("web")
		talk := web.up()
		if got := strings.Count(web.knows(), ","); got != n-1 {
			t.Errorf("web knows %d peers at the manager's HELLO", got+1)
		}
		talk.conn.Close()
		web.up()
		if got := strings.Count(web.knows(), ","); got != n-1 {
			t.Errorf("web knows %d peers", got+1)
		}
	})
}

func TestAFrontendThatDoesNotConfirmLosesItsLink(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		web, db := r.guest("web"), r.guest("db")
		talk := web.up()
		other := db.up()
		web.mu.Lock()
		web.mute = true
		web.mu.Unlock()
		r.policy("7 web db allow")
		time.Sleep(3 * time.Second)
		if _, n := r.manager.Progress(); n != 1 || r.manager.Frontends()[0].Unconfirmed != 1 {
			t.Errorf("%d have not confirmed: %+v", n, r.manager.Frontends())
		}
		// A later one is no reason to wait longer.
		r.policy("8 web db allow")
		time.Sleep(1900 * time.Millisecond)
		if talk.link.Err() != nil {
			t.Errorf("the link ended early: %v", talk.link.Err())
		}
		time.Sleep(500 * time.Millisecond)
		if talk.link.Err() == nil || other.link.Err() != nil {
			t.Errorf("links are %v and %v", talk.link.Err(), other.link.Err())
		}
		web.mu.Lock()
		web.mute = false
		web.mu.Unlock()
		web.up()
		told(t, web, "db >8-8")
	})
}

// A frontend that reads nothing is given up, and costs nobody else anything.
func TestAFrontendThatDoesNotReadLosesItsLink(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		r.policy("7 * * allow")
		deaf := r.guest("deaf", func(g *guest) { g.deaf = true })
		web, db := r.guest("web"), r.guest("db")
		talk := web.up()
		db.up()
		d := deaf.begun()
		begin := time.Now()
		for d.link.Err() == nil && time.Since(begin) < time.Minute {
			if a := talk.connect(db, 7); a.Result != port1.OK {
				t.Errorf("the others' request is answered %v", a.Result)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if took := time.Since(begin); took > 15*time.Second {
			t.Errorf("the deaf one is given up after %v", took)
		}
	})
}
