package daemon_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"xvsock/daemon"
	"xvsock/grant"
	"xvsock/services"
	"xvsock/services/control"
	"xvsock/services/discovery"
	"xvsock/services/varlink"
	"xvsock/sim"
	"xvsock/vsock"
	"xvsock/xenstore"
)

func TestTheBackendsDirectoryKnowsTheWholeHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		web := start(t, h.create("web"), daemon.Frontend, nil)
		b := h.backend()
		db := start(t, h.create("db"), daemon.Frontend, func(c *daemon.Config) { c.Services = nil })
		const all = "Domain-0/discovery Domain-0/echo db/discovery web/discovery web/echo"
		for _, at := range []*node{b, web, db} {
			await(t, all, 5*time.Second, func() string { return at.list("") })
			if got := at.list("@backend"); got != all {
				t.Errorf("%s: @backend answers %q", at.dom.Name(), got)
			}
		}
		for _, c := range []struct {
			at         *node
			spec, want string
		}{
			{b, "web", "web/discovery web/echo"}, {b, "1", "web/discovery web/echo"}, {b, web.dom.UUID(), "web/discovery web/echo"},
			{b, "self", all}, {b, "0", all}, {b, "Domain-0", all},
			{web, "self", "web/discovery web/echo"}, {web, "1", "web/discovery web/echo"}, {web, "0", all},
		} {
			if got := c.at.list(c.spec); got != c.want {
				t.Errorf("%s is asked for %s and answers %q, want %q", c.at.dom.Name(), c.spec, got, c.want)
			}
		}
		records, err := b.services("web")
		if err != nil || records[0].UUID != web.dom.UUID() || records[0].CID != vsock.CIDOf(1) || records[0].State != services.Serving {
			t.Errorf("record is %+v, %v", records, err)
		}
	})
}

func TestDomainsAreNamedWithoutDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		b := h.backend()
		web := start(t, h.create("web"), daemon.Frontend, nil)
		for range 2 {
			h.create("twin")
		}
		await(t, "true", 5*time.Second, func() string { return fmt.Sprint(len(b.status().Links) == 3 && b.status().Links[0].Up) })
		for _, c := range []struct {
			at         *node
			spec, want string
		}{
			{b, "nobody", "UnknownDomain"}, {b, "77", "UnknownDomain"}, {b, "twin", "AmbiguousDomain"},
			{b, "\x1b[2J", "UnknownDomain"}, {b, "3", "Failed"}, // attached, but not there
			{web, "db", "UnknownDomain"}, {web, "2", "Failed"},
		} {
			_, list := c.at.services(c.spec)
			ping := c.at.ping(c.spec, 64)
			if code(list) != c.want || code(ping) != c.want {
				t.Errorf("%s is asked for %q: Services %v, Ping %v; want %s", c.at.dom.Name(), c.spec, list, ping, c.want)
			}
			if strings.Contains(list.Error(), "\x1b") {
				t.Errorf("the error quotes the name as it came: %q", list)
			}
		}
	})
}

func TestResolveTakesWhateverNamesADomain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		b := h.backend()
		web := start(t, h.create("web"), daemon.Frontend, nil)
		start(t, h.create("db"), daemon.Frontend, nil)
		await(t, "6", 5*time.Second, func() string { return fmt.Sprint(len(strings.Fields(b.list("")))) })
		for _, c := range []struct {
			at                 *node
			name, domain, want string
		}{
			{b, "echo", "web", "web"}, {b, "echo", "1", "web"}, {b, "echo", web.dom.UUID(), "web"}, {b, "echo", "self", "Domain-0"},
			{b, "echo", "", "Ambiguous"}, {b, "echo", "nobody", "UnknownDomain"}, {b, "ssh", "web", "ServiceNotFound"},
			{web, "echo", "db", "db"}, {web, "echo", "nobody", "ServiceNotFound"}, {web, "ssh", "", "ServiceNotFound"},
			{web, "echo", "self", "web"}, {web, "echo", "1", "web"}, {web, "echo", "2", "db"}, {web, "echo", web.dom.UUID(), "web"},
			{web, "echo", "0", "Domain-0"}, {web, "echo", "@backend", "Domain-0"}, {b, "echo", "@backend", "Domain-0"},
			{web, "echo", "77", "ServiceNotFound"}, {web, "ssh", "self", "ServiceNotFound"}, {web, "", "self", "InvalidParameter"},
		} {
			var out daemon.ResolveReply
			err := c.at.control.call(t.Context(), daemon.MethodResolve, daemon.ResolveArgs{Name: c.name, Domain: c.domain}, &out)
			if got := out.Service.Domain + code(err); got != c.want {
				t.Errorf("%s resolves %s of %q to %q (%v), want %q", c.at.dom.Name(), c.name, c.domain, got, err, c.want)
			}
		}
	})
}

func TestStatusShowsEveryLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		b := h.backend()
		web := start(t, h.create("web"), daemon.Frontend, nil)
		h.create("idle")
		await(t, "4", 5*time.Second, func() string { return fmt.Sprint(len(strings.Fields(b.list("")))) })
		time.Sleep(10 * time.Second)
		got := b.status()
		if got.Goroutines < 5 || got.Watches != 3 || got.Uptime < 10 || got.Uptime > 60 { // one of all, one a frontend
			t.Errorf("%d goroutines, %d watches, up for %v s", got.Goroutines, got.Watches, got.Uptime)
		}
		got.Goroutines, got.Uptime, got.Watches = 0, 0, 0
		noKernel := &daemon.AFVsock{Reason: "there is no kernel whose sockets these could be", Instances: []daemon.Instance{}}
		want := daemon.Status{Role: "backend", Name: "Domain-0", Version: "test", Links: []daemon.Link{
			{
				Domain: 1, Name: "web", UUID: web.dom.UUID(), Up: true, Connections: 1, Pages: 1, Access: "copy",
				Kind: "frontend", State: "up", Use: &daemon.Use{Requests: 100},
			},
			{
				Domain: 2, Name: "idle", UUID: h.Domain(2).UUID(),
				Kind: "frontend", State: "down", Use: &daemon.Use{Requests: 100},
			},
		}, Policy: &daemon.PolicyState{Source: "test", Version: "1", Unconfirmed: 1}, Budgets: &daemon.Budgets{
			Requests: 50, Burst: 100, HalfOpen: 16, Links: 64, Connections: 1024, Registrations: 8,
		}, AFVsock: noKernel}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("status of the backend (-want +got):\n%s", diff)
		}
		got = web.status()
		got.Goroutines, got.Uptime, got.Watches = 0, 0, 0
		want = daemon.Status{Role: "frontend", Domain: 1, Name: "web", Version: "test", Links: []daemon.Link{
			{Backend: true, Up: true, Connections: 1, Pages: 33, Access: "copy", Kind: "backend", State: "up"},
			{
				Domain: 2, Name: "idle", UUID: h.Domain(2).UUID(), Kind: "peer", State: "idle",
				Out: []string{"*"}, In: []string{"*"},
			},
		}, AFVsock: noKernel}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("status of the frontend (-want +got):\n%s", diff)
		}
	})
}

func TestStatusOfAFrontendThatIsNotAttachedIsAnEmptyList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		n := start(t, h.Create(sim.DomainConfig{}), daemon.Frontend, nil)
		if s := n.status(); s.Links == nil || len(s.Links) != 0 {
			t.Errorf("links are %#v", s.Links)
		}
		if err := n.ping("@backend", 1); code(err) != "Failed" || !strings.Contains(err.Error(), "no route to host") {
			t.Errorf("ping without a link gives %v", err)
		}
		if err := n.ping("self", 1<<16); err != nil {
			t.Errorf("ping of the domain itself: %v", err)
		}
	})
}

// The daemon of a domain registers from a port below 1024. From others nobody
// may: any program of the domain could.
func TestOnlyAPrivilegedPortRegisters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		b := h.backend()
		p := startPeer(t, h.create("web"))
		<-p.links
		time.Sleep(time.Second)
		at := vsock.Addr{CID: vsock.CIDBackend, Port: services.PortDiscovery}
		for name, dial := range map[string]func(context.Context, vsock.Addr) (*vsock.Conn, error){
			"PermissionDenied": p.stack.Dial, "": p.stack.DialPrivileged,
		} {
			conn, err := dial(t.Context(), at)
			if err != nil {
				t.Fatal(err)
			}
			c := discovery.NewClient(conn, discovery.ClientConfig{})
			err = c.Register(t.Context(), services.Entry{
				Info: services.Info{Name: "mine", Port: 5000}, State: services.Serving,
			})
			if code(err) != name {
				t.Errorf("Register from port %v gives %v, want %q", conn.LocalAddr(), err, name)
			}
			c.Close()
		}
		if got := b.list(""); got != "Domain-0/discovery Domain-0/echo web/mine" {
			t.Errorf("directory has %q", got)
		}
	})
}

// Fault "manager killed" of the list: links re-form within 5 s, listeners stay,
// connections are reset, the directory is whole again.
func TestEverythingComesBackAfterTheBackendWasKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		b := h.backend()
		start(t, h.create("web"), daemon.Frontend, nil)
		start(t, h.create("db"), daemon.Frontend, nil)
		const all = "Domain-0/discovery Domain-0/echo db/discovery db/echo web/discovery web/echo"
		await(t, all, 5*time.Second, func() string { return b.list("") })
		p := startPeer(t, h.create("holder"))
		<-p.links
		time.Sleep(time.Second)
		held, err := p.stack.Dial(t.Context(), vsock.Addr{CID: vsock.CIDBackend, Port: services.PortEcho})
		if err != nil {
			t.Fatal(err)
		}
		defer held.Close()
		b.kill()
		killed := time.Now()
		if _, err := held.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) || time.Since(killed) > 2*time.Second {
			t.Errorf("a connection to the killed backend ended with %v after %v", err, time.Since(killed))
		}
		b = h.backend()
		begin := time.Now()
		await(t, all, 5*time.Second, func() string { return b.list("") })
		t.Logf("the directory is whole %v after the backend's start", time.Since(begin))
		for _, d := range []string{"web", "db"} {
			if err := b.ping(d, 1<<16); err != nil {
				t.Errorf("echo of %s: %v", d, err)
			}
		}
	})
}

// parting is a service that speaks when it is told to stop.
type parting struct{ words string }

func (p parting) Serve(ctx context.Context, l net.Listener) error {
	defer l.Close()
	c, err := l.Accept()
	if err != nil {
		return err
	}
	defer c.Close()
	<-ctx.Done()
	time.Sleep(time.Second) // a service may take a while to stop
	_, err = c.Write([]byte(p.words))
	return err
}

// What a service writes while the daemon stops in order is still read: services
// stop first, then connections, then links.
func TestLastWordsAreHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		const words = "the last words"
		b := h.backendWith(func(c *daemon.Config) {
			c.Services = []daemon.Offer{{
				Info: services.Info{Name: "parting", Port: 700},
				New:  func(services.Identify, *slog.Logger) services.Service { return parting{words} },
			}}
		})
		p := startPeer(t, h.create("listener"))
		<-p.links
		time.Sleep(time.Second)
		c, err := p.stack.Dial(t.Context(), vsock.Addr{CID: vsock.CIDBackend, Port: 700})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		synctest.Wait()
		var end sync.WaitGroup
		end.Go(func() { b.stop() })
		got, err := io.ReadAll(c)
		if string(got) != words {
			t.Errorf("read %q, %v; want %q", got, err, words)
		}
		end.Wait()
	})
}

// limited is a grant device whose limit stays where it is.
type limited struct {
	grant.Device
	pages int
	asked int
}

func (l *limited) RaiseLimit(pages int) (int, error) {
	l.asked = pages
	return l.pages, fs.ErrPermission
}

func TestADaemonSaysHowManyLinksFitWhenTheLimitStays(t *testing.T) {
	for name, c := range map[string]struct {
		run  run
		want string
	}{
		"a backend grants one page a link":                                    {daemon.Backend, "links_that_fit=1024"},
		"a frontend grants the rings of the front link, and one to each peer": {daemon.Frontend, "links_that_fit=59"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t)
				var log bytes.Buffer
				device := &limited{pages: 1024}
				n := start(t, h.Domain(0), c.run, func(cfg *daemon.Config) {
					device.Device = cfg.Domain.Grants
					cfg.Domain.Grants = device
					cfg.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
				})
				synctest.Wait()
				n.stop()
				if device.asked != grant.TableEntries || !strings.Contains(log.String(), c.want) {
					t.Errorf("asked for %d pages and said %q", device.asked, log.String())
				}
			})
		})
	}
}

func TestADestroyedDomainLeavesTheDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		b := h.backend()
		web := start(t, h.create("web"), daemon.Frontend, nil)
		await(t, "Domain-0/discovery Domain-0/echo web/discovery web/echo", 5*time.Second, func() string { return b.list("") })
		before := b.status().Goroutines
		web.dom.Destroy()
		await(t, "Domain-0/discovery Domain-0/echo", 2*time.Second, func() string { return b.list("") })
		await(t, "0", 2*time.Second, func() string { return fmt.Sprint(len(b.status().Links)) })
		web.stop()
		synctest.Wait()
		if after := b.status().Goroutines; after >= before {
			t.Errorf("%d goroutines, %d while the domain was there", after, before)
		}
	})
}

// The backend's domain may have a frontend of its own: two daemons, one id.
func TestTheBackendsDomainCanBeItsOwnFrontend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		b := h.backend()
		f := start(t, h.Domain(0), daemon.Frontend, func(c *daemon.Config) { c.Name = "own" })
		h.attach(h.Domain(0))
		const all = "Domain-0/discovery Domain-0/discovery Domain-0/echo Domain-0/echo"
		await(t, all, 10*time.Second, func() string { return b.list("") })
		if got := b.list("0"); got != all {
			t.Errorf("asked for 0 it answers %q", got)
		}
		if err := f.ping("@backend", 1<<16); err != nil {
			t.Error(err)
		}
		for _, spec := range []string{"self", "0", "@backend"} {
			err := f.control.call(t.Context(), daemon.MethodResolve, daemon.ResolveArgs{Name: "echo", Domain: spec}, nil)
			if code(err) != "AmbiguousDomain" {
				t.Errorf("echo of %s, which are two, gives %v", spec, err)
			}
		}
	})
}

func TestShutdownIsForTheDaemonOfPID1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		told := make(chan bool, 1)
		n := start(t, h.create("pid1"), daemon.Frontend, func(c *daemon.Config) { c.Shutdown = func(reboot bool) { told <- reboot } })
		other := start(t, h.create("other"), daemon.Frontend, nil)
		for _, reboot := range []bool{true, false} {
			if err := n.control.call(t.Context(), control.MethodShutdown, map[string]bool{"reboot": reboot}, nil); err != nil || <-told != reboot {
				t.Errorf("Shutdown: %v", err)
			}
		}
		err := other.control.call(t.Context(), control.MethodShutdown, map[string]bool{"reboot": false}, nil)
		if code(err) != "NotSupported" {
			t.Errorf("Shutdown of a daemon that is not PID 1 gives %v", err)
		}
	})
}

func TestDaemonsEndInOrderWhenTold(t *testing.T) {
	for name, f := range map[string]run{"backend": daemon.Backend, "frontend": daemon.Frontend} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t)
				n := start(t, h.create("web"), f, nil)
				time.Sleep(time.Second)
				if err := n.stop(); err != nil {
					t.Errorf("told to end it returned %v", err)
				}
			})
		})
	}
}

func TestDaemonsEndWithXenstore(t *testing.T) {
	for name, f := range map[string]run{"backend": daemon.Backend, "frontend": daemon.Frontend} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t)
				dom := h.create("web")
				n := start(t, dom, f, nil)
				time.Sleep(time.Second)
				h.Xenstored().Disconnect(dom.ID())
				if err := n.result(); !errors.Is(err, xenstore.ErrLost) {
					t.Errorf("without xenstore it returned %v", err)
				}
			})
		})
	}
}

// A directory that refuses for a while ends nobody. More services change here
// than the directory's limit lets through.
func TestABackendOutlivesItsOwnServicesThatFlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		b := h.backendWith(func(c *daemon.Config) {
			for i := range 60 {
				o := daemon.Builtin()[0]
				o.Info = services.Info{Name: fmt.Sprintf("flap-%d", i), Port: uint32(3000 + i)}
				o.New = flapping
				c.Services = append(c.Services, o)
			}
		})
		time.Sleep(2 * time.Minute)
		if s := b.status(); s.Role != "backend" {
			t.Errorf("status is %+v", s)
		}
	})
}

func TestGetInfoDescribesTheControlSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		n := start(t, h.create("web"), daemon.Frontend, nil)
		var info varlink.Info
		if err := n.control.call(t.Context(), varlink.GetInfo, nil, &info); err != nil || info.Version != "test" {
			t.Errorf("GetInfo: %+v, %v", info, err)
		}
		var text struct {
			Description string `json:"description"`
		}
		err := n.control.call(t.Context(), "org.varlink.service.GetInterfaceDescription",
			map[string]string{"interface": daemon.ControlInterface}, &text)
		for _, word := range []string{"method Status", "method Ping", "goroutines", "error UnknownDomain"} {
			if err != nil || !strings.Contains(text.Description, word) {
				t.Errorf("the description lacks %q: %v", word, err)
			}
		}
	})
}
