package discovery_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"xvsock/services"
	"xvsock/services/discovery"
	"xvsock/services/varlink"
)

var wire = cmpopts.IgnoreFields(discovery.Record{}, "DomainID")

// The bytes of a conversation, as PROTOCOL tells them to other languages.
func TestConversation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := services.NewRegistry()
		r.Add(services.Info{Name: "echo", Port: 7, Txt: map[string]string{"v": "<1>"}})
		r.SetState("echo", services.Serving)
		self := discovery.Caller{Domain: 5, CID: 5, Name: "db1", UUID: "u5"}
		conn := start(t, discovery.NewOwnDirectory(r, self, everything)).Dial(t, domain(0, "Domain-0"))
		in := bufio.NewReader(conn)
		echo := `{"domain":"db1","uuid":"u5","name":"echo","port":7,"state":"SERVING","cid":5,"txt":{"v":"<1>"}}`
		revision := regexp.MustCompile(`"revision":\d+`)
		for _, c := range []struct{ call, want string }{
			{`{"method":"org.xvsock.Discovery.List"}`, `{"parameters":{"revision":R,"services":[` + echo + `]}}`},
			{`{"method":"org.xvsock.Discovery.List","parameters":{"domain":"u5"}}`, `{"parameters":{"revision":R,"services":[` + echo + `]}}`},
			{`{"method":"org.xvsock.Discovery.List","parameters":{"domain":"other"}}`, `{"parameters":{"revision":R,"services":[]}}`},
			{`{"method":"org.xvsock.Discovery.Resolve","parameters":{"name":"echo"}}`, `{"parameters":{"service":` + echo + `}}`},
			{`{"method":"org.xvsock.Discovery.Resolve","parameters":{"name":"web"}}`, `{"error":"org.xvsock.Discovery.ServiceNotFound"}`},
			{`{"method":"org.xvsock.Discovery.Resolve"}`, `{"error":"org.varlink.service.InvalidParameter","parameters":{"parameter":"name"}}`},
			{`{"method":"org.xvsock.Discovery.Resolve","parameters":{"name":"$(x)"}}`, `{"error":"org.varlink.service.InvalidParameter","parameters":{"parameter":"name"}}`},
			{`{"method":"org.xvsock.Discovery.Health","parameters":{"name":"echo"}}`, `{"parameters":{"state":"SERVING"}}`},
			{`{"method":"org.xvsock.Discovery.Health","parameters":{"name":"web"}}`, `{"parameters":{"state":"SERVICE_UNKNOWN"}}`},
			{`{"method":"org.xvsock.Discovery.Watch"}`, `{"error":"org.varlink.service.ExpectedMore"}`},
			{`{"method":"org.xvsock.Discovery.Register","parameters":{"name":"web","port":80}}`, `{"error":"org.varlink.service.PermissionDenied"}`},
			{`{"method":"org.xvsock.Discovery.Unregister","parameters":{"name":"echo"}}`, `{"error":"org.varlink.service.PermissionDenied"}`},
			{`{"method":"org.varlink.service.GetInfo"}`, `{"parameters":{"vendor":"xvsock","product":"test","version":"1","url":"-","interfaces":["org.varlink.service","org.xvsock.Discovery"]}}`},
		} {
			for _, end := range []string{"\n", "\x00"} {
				io.WriteString(conn, c.call+end)
				got, err := in.ReadString(end[0])
				if got = revision.ReplaceAllString(got, `"revision":R`); got != c.want+end || err != nil {
					t.Errorf("%s:\n got %q, %v\nwant %q", c.call, got, err, c.want+end)
				}
			}
		}
	})
}

func TestEveryMethodIsDescribed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := start(t, discovery.NewHostDirectory(discovery.HostConfig{})).Dial(t, domain(1, "a"))
		c := varlink.NewClient(conn, varlink.Limits{})
		for _, m := range regexp.MustCompile(`(?m)^method (\w+)`).FindAllStringSubmatch(discovery.Interface, -1) {
			err := c.Call(t.Context(), "org.xvsock.Discovery."+m[1], nil, nil)
			if errors.Is(err, &varlink.Error{Name: varlink.MethodNotFound}) {
				t.Errorf("%s is described and not there", m[1])
			}
		}
		var d varlink.Description
		err := c.Call(t.Context(), varlink.GetInterfaceDescription, map[string]string{"interface": "org.xvsock.Discovery"}, &d)
		if err != nil || d.Description != discovery.Interface {
			t.Errorf("description: %v", err)
		}
	})
}

func TestClientAndHostDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := discovery.NewHostDirectory(discovery.HostConfig{Visible: everything})
		h := start(t, d)
		db, web := domain(5, "db1"), domain(6, "web1")
		for _, c := range []discovery.Caller{db, web} {
			if err := d.Join(c); err != nil {
				t.Fatal(err)
			}
		}
		a, b := h.client(t, db), h.client(t, web)
		ctx := t.Context()
		for _, err := range []error{
			a.Register(ctx, services.Entry{Info: services.Info{Name: "sql", Port: 5432, Txt: map[string]string{"v": "1"}}, State: services.Serving}),
			a.Register(ctx, serving("log", 6)),
			b.Register(ctx, serving("log", 6)),
			b.Register(ctx, serving("http", 80)),
		} {
			if err != nil {
				t.Errorf("Register = %v", err)
			}
		}
		want := []discovery.Record{
			{Domain: "db1", UUID: "uuid-db1", Name: "log", Port: 6, State: services.Serving, CID: 5},
			{Domain: "db1", UUID: "uuid-db1", Name: "sql", Port: 5432, State: services.Serving, CID: 5, Txt: map[string]string{"v": "1"}},
			{Domain: "web1", UUID: "uuid-web1", Name: "http", Port: 80, State: services.Serving, CID: 6},
			{Domain: "web1", UUID: "uuid-web1", Name: "log", Port: 6, State: services.Serving, CID: 6},
		}
		got, revision, err := b.List(ctx, discovery.Filter{})
		if diff := cmp.Diff(want, got, wire); diff != "" || err != nil || revision == 0 {
			t.Errorf("List: %v, revision %d\n%s", err, revision, diff)
		}
		got, _, err = b.List(ctx, discovery.Filter{Name: "log", Domain: "db1"})
		if diff := cmp.Diff(want[:1], got, wire); diff != "" || err != nil {
			t.Errorf("List of one: %v\n%s", err, diff)
		}
		if r, err := b.Resolve(ctx, "sql", ""); err != nil || !cmp.Equal(r, want[1], wire) {
			t.Errorf("Resolve = %+v, %v", r, err)
		}
		if _, err := b.Resolve(ctx, "log", ""); !errors.Is(err, discovery.ErrAmbiguous) || !strings.Contains(err.Error(), "db1") {
			t.Errorf("Resolve of two = %v; want ErrAmbiguous with the domains", err)
		}
		if r, err := b.Resolve(ctx, "log", "uuid-web1"); err != nil || r.Domain != "web1" {
			t.Errorf("Resolve of one of two = %+v, %v", r, err)
		}
		down := serving("sql", 5432)
		down.State = services.NotServing
		if err := a.Register(ctx, down); err != nil {
			t.Errorf("Register again = %v", err)
		}
		if s, err := b.Health(ctx, "sql", "db1"); s != services.NotServing || err != nil {
			t.Errorf("Health = %s, %v", s, err)
		}
		if err := b.Unregister(ctx, "sql"); !errors.Is(err, discovery.ErrServiceNotFound) {
			t.Errorf("Unregister of another's service = %v", err)
		}
		if err := a.Unregister(ctx, "sql"); err != nil {
			t.Errorf("Unregister = %v", err)
		}
		if s, err := b.Health(ctx, "sql", ""); s != services.Unknown || err != nil {
			t.Errorf("Health of what is gone = %s, %v", s, err)
		}
		if info, err := a.GetInfo(ctx); err != nil || info.Product != "test" {
			t.Errorf("GetInfo = %+v, %v", info, err)
		}
	})
}

func TestRegistrationRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := discovery.NewHostDirectory(discovery.HostConfig{Visible: everything})
		h := start(t, d)
		root := domain(5, "db1")
		user, stranger, old := root, domain(6, "web1"), root
		user.Port, old.Generation = 1024, 7
		d.Join(root)
		for _, c := range []struct {
			name   string
			caller discovery.Caller
			params string
			want   string
		}{
			{"from a port of anybody's", user, `{"name":"x","port":9}`, varlink.PermissionDenied},
			{"of a domain without a link", stranger, `{"name":"x","port":9}`, varlink.PermissionDenied},
			{"over a link that has ended", old, `{"name":"x","port":9}`, varlink.PermissionDenied},
			{"for another domain", root, `{"name":"x","port":9,"domain":"web1"}`, varlink.InvalidParameter},
			{"with another's uuid", root, `{"name":"x","port":9,"uuid":"uuid-web1"}`, varlink.InvalidParameter},
			{"with a name of escapes", root, `{"name":"\u001b[2J","port":9}`, varlink.InvalidParameter},
			{"with a cyrillic name", root, "{\"name\":\"ech\u043e\",\"port\":9}", varlink.InvalidParameter},
			{"with a name of a megabyte", root, `{"name":"` + strings.Repeat("x", 60000) + `","port":9}`, varlink.InvalidParameter},
			{"of echo on another port", root, `{"name":"echo","port":9}`, varlink.InvalidParameter},
			{"on no port", root, `{"name":"x"}`, varlink.InvalidParameter},
			{"on any port", root, `{"name":"x","port":4294967295}`, varlink.InvalidParameter},
			{"on a port too large", root, `{"name":"x","port":4294967296}`, varlink.InvalidParameter},
			{"in a state that is none", root, `{"name":"x","port":9,"state":"FINE"}`, varlink.InvalidParameter},
			{"in the state that only answers have", root, `{"name":"x","port":9,"state":"SERVICE_UNKNOWN"}`, varlink.InvalidParameter},
			{"with a large txt", root, `{"name":"x","port":9,"txt":{"k":"` + strings.Repeat("v", 1024) + `"}}`, varlink.InvalidParameter},
			{"with a txt of escapes", root, `{"name":"x","port":9,"txt":{"k":"\u001b"}}`, varlink.InvalidParameter},
			{"with Name beside name", root, `{"name":"x","Name":"y","port":9}`, ""},
		} {
			conn := h.Dial(t, c.caller)
			io.WriteString(conn, `{"method":"org.xvsock.Discovery.Register","parameters":`+c.params+"}\n")
			got, _ := bufio.NewReader(conn).ReadString('\n')
			want := `{"error":"` + c.want + `"`
			if c.want == "" {
				want = `{"error":"` + varlink.Malformed + `"`
			}
			if !strings.HasPrefix(got, want) {
				t.Errorf("%s: %q; want %s", c.name, got, want)
			}
			conn.Close()
			synctest.Wait()
		}
		if list, _ := d.List(root, discovery.Filter{}); len(list) > 0 {
			t.Errorf("registered all the same: %+v", list)
		}
		d.Register(root, serving("sql", 5432))
		if err := h.client(t, user).Unregister(t.Context(), "sql"); !errors.Is(err, discovery.ErrDenied) {
			t.Errorf("Unregister from a port of anybody's = %v; want ErrDenied", err)
		}
	})
}

// A caller is told nothing of what it may not reach, by no method.
func TestHiddenServicesLookAbsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := discovery.NewHostDirectory(discovery.HostConfig{Visible: func(c discovery.Caller, r discovery.Record) bool {
			return r.Port == 80
		}})
		h := start(t, d)
		for i, name := range []string{"a", "b", "evil"} {
			c := domain(uint16(i+5), name)
			d.Join(c)
			if name != "evil" {
				d.Register(c, serving("secret", 666))
			}
		}
		d.Register(domain(5, "a"), serving("http", 80))
		c := h.client(t, domain(7, "evil"))
		ctx := t.Context()
		list, _, err := c.List(ctx, discovery.Filter{})
		if err != nil || len(list) != 1 || list[0].Name != "http" {
			t.Errorf("List = %+v, %v; want http alone", list, err)
		}
		_, hidden := c.Resolve(ctx, "secret", "")
		_, absent := c.Resolve(ctx, "nothing", "")
		if hidden.Error() != absent.Error() {
			t.Errorf("Resolve tells the hidden %v from the absent %v", hidden, absent)
		}
		if s, err := c.Health(ctx, "secret", "a"); s != services.Unknown || err != nil {
			t.Errorf("Health = %s, %v", s, err)
		}
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		go func() {
			time.Sleep(time.Second)
			d.Unregister(domain(5, "a"), "secret")
			d.Drop(6, 1)
			d.Unregister(domain(5, "a"), "http")
		}()
		var seen []string
		for u, err := range c.Watch(ctx, 0) {
			if err != nil {
				break
			}
			for _, ch := range u.Changes {
				seen = append(seen, string(ch.Kind)+" "+ch.Service.Name)
			}
		}
		if got := strings.Join(seen, ", "); got != "put http, delete http" {
			t.Errorf("Watch told %q", got)
		}
	})
}

func TestADomainSeesItsOwnServices(t *testing.T) {
	d := discovery.NewHostDirectory(discovery.HostConfig{})
	c := domain(5, "a")
	d.Join(c)
	d.Register(c, serving("http", 80))
	if list, _ := d.List(c, discovery.Filter{}); len(list) != 1 {
		t.Errorf("its own: %+v", list)
	}
	reused := domain(5, "b") // another domain under the same id
	if list, _ := d.List(reused, discovery.Filter{}); len(list) != 0 {
		t.Errorf("another's under the same id: %+v", list)
	}
}

func TestWatchFollowsAndResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := discovery.NewHostDirectory(discovery.HostConfig{Visible: everything})
		h := start(t, d)
		c := domain(5, "a")
		d.Join(c)
		d.Register(c, serving("http", 80))
		w := h.client(t, domain(9, "w"))
		go func() {
			time.Sleep(time.Second)
			d.Register(c, serving("sql", 5432))
		}()
		var updates []discovery.Update
		for u, err := range w.Watch(t.Context(), 0) {
			if err != nil {
				t.Fatal(err)
			}
			if updates = append(updates, u); len(updates) == 2 {
				break
			}
		}
		if u := updates[0]; !u.Synced || len(u.Changes) != 1 || u.Changes[0].Service.Name != "http" {
			t.Errorf("first update %+v", u)
		}
		if u := updates[1]; !u.Synced || len(u.Changes) != 1 || u.Changes[0].Service.Name != "sql" || u.Revision <= updates[0].Revision {
			t.Errorf("second update %+v", u)
		}
		d.Unregister(c, "http")
		var resumed []string
		for u, err := range h.client(t, domain(9, "w")).Watch(t.Context(), updates[0].Revision) {
			if err != nil {
				t.Fatal(err)
			}
			for _, ch := range u.Changes {
				resumed = append(resumed, string(ch.Kind)+" "+ch.Service.Name)
			}
			if len(resumed) == 2 {
				break
			}
		}
		if got := strings.Join(resumed, ", "); got != "put sql, delete http" {
			t.Errorf("resumed with %q", got)
		}
		d.PolicyChanged()
		for _, revision := range []uint64{updates[1].Revision, 1, 1 << 60} {
			var last error
			for _, err := range h.client(t, domain(9, "w")).Watch(t.Context(), revision) {
				last = err
			}
			if !errors.Is(last, discovery.ErrCompacted) {
				t.Errorf("resumed from %d: %v; want ErrCompacted", revision, last)
			}
		}
	})
}

func TestWatchesAreBoundedPerDomain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start(t, discovery.NewHostDirectory(discovery.HostConfig{Visible: everything})).
			CheckStreams(t, `{"method":"org.xvsock.Discovery.Watch","more":true}`, "synced")
	})
}

// A watcher that never reads costs its own connection and holds up nobody.
func TestSlowWatcherIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := discovery.NewHostDirectory(discovery.HostConfig{Visible: everything})
		h := start(t, d)
		c := domain(5, "a")
		d.Join(c)
		conn := h.Dial(t, domain(9, "slow"))
		io.WriteString(conn, `{"method":"org.xvsock.Discovery.Watch","more":true}`+"\n")
		bufio.NewReader(conn).ReadString('\n')
		began := time.Now()
		for i := range 200 {
			if err := d.Register(c, serving(fmt.Sprint("s", i), 9)); err != nil {
				t.Fatal(err)
			}
		}
		if time.Since(began) > 0 {
			t.Errorf("registering waited %v for the watcher", time.Since(began))
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if n, err := io.Copy(io.Discard, conn); err != nil || n != 0 {
			t.Errorf("the watcher's connection gave %d bytes, %v; want the end", n, err)
		}
	})
}

func TestListIsSplitIntoMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := discovery.NewHostDirectory(discovery.HostConfig{Visible: everything})
		h := start(t, d)
		c := domain(5, "a")
		d.Join(c)
		txt := map[string]string{"k": strings.Repeat(`"`, 1000)}
		for i := range services.MaxServices {
			e := serving(fmt.Sprint("s", i), 9)
			e.Txt = txt
			if err := d.Register(c, e); err != nil {
				t.Fatal(err)
			}
		}
		list, revision, err := h.client(t, c).List(t.Context(), discovery.Filter{})
		if len(list) != services.MaxServices || err != nil {
			t.Errorf("List gave %d, %v", len(list), err)
		}
		err = varlink.NewClient(h.Dial(t, c), varlink.Limits{}).Call(t.Context(), "org.xvsock.Discovery.List", nil, nil)
		if !errors.Is(err, &varlink.Error{Name: varlink.ExpectedMore}) {
			t.Errorf("List without more: %v; want ExpectedMore", err)
		}
		first := 0
		for u, err := range h.client(t, c).Watch(t.Context(), 0) {
			if err != nil {
				t.Fatal(err)
			}
			if first += len(u.Changes); u.Synced {
				if u.Revision != revision {
					t.Errorf("synced at %d; want %d", u.Revision, revision)
				}
				break
			} else if u.Revision != 0 {
				t.Errorf("a part of the first state has revision %d to resume from", u.Revision)
			}
		}
		if first != services.MaxServices {
			t.Errorf("Watch began with %d services", first)
		}
	})
}

// A watcher that is cut off between two replies of one step resumes without
// missing the second.
func TestWatchCutInTheMiddleOfAStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := discovery.NewHostDirectory(discovery.HostConfig{Visible: everything})
		h := start(t, d)
		c := domain(5, "a")
		d.Join(c)
		const services = 60
		for i := range services {
			e := serving(fmt.Sprint("s", i), 9)
			e.Txt = map[string]string{"k": strings.Repeat("v", 1000)}
			if err := d.Register(c, e); err != nil {
				t.Fatal(err)
			}
		}
		_, before := d.List(c, discovery.Filter{})
		d.Drop(5, 1)
		told := make(map[string]bool)
		follow := func(from uint64, replies int) (at uint64) {
			for u, err := range h.client(t, domain(9, "w")).Watch(t.Context(), from) {
				if err != nil {
					t.Fatal(err)
				}
				for _, ch := range u.Changes {
					told[ch.Service.Name] = true
				}
				at = u.Revision
				if replies--; replies == 0 || len(told) == services {
					break
				}
			}
			return at
		}
		at := follow(before, 2) // the one that says synced, and a part
		if len(told) == 0 || len(told) == services {
			t.Fatalf("the step was not split: %d of %d changes in one reply", len(told), services)
		}
		follow(at, 5)
		if len(told) != services {
			t.Errorf("%d of %d changes were told", len(told), services)
		}
	})
}
