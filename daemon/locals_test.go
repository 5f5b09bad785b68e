package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/bridge/afvsock"
	"xvsock/bridge/afvsock/afvsocktest"
	"xvsock/bridge/vhost"
	"xvsock/config"
	"xvsock/daemon"
	"xvsock/services"
	"xvsock/sim"
	"xvsock/vsock"
)

// kernelNode is a domain with its daemon and its kernel's sockets.
type kernelNode struct {
	*node
	kernel *afvsocktest.Kernel
}

// withKernel has a daemon bridge the sockets of k.
func withKernel(k *afvsocktest.Kernel) func(*daemon.Config) {
	return func(c *daemon.Config) {
		c.Settings.Bridge = true
		c.Bridge.Open = func(cid uint32) (afvsock.Device, error) {
			d, err := k.Open(cid)
			if err != nil {
				return nil, err
			}
			return d, nil
		}
	}
}

// kernels starts a backend and the frontends a and b, each with a kernel.
func (h *host) kernels(change func(*daemon.Config)) (back, a, b kernelNode) {
	h.t.Helper()
	made := func(begin func(func(*daemon.Config)) *node) kernelNode {
		k := afvsocktest.New()
		return kernelNode{begin(func(c *daemon.Config) {
			withKernel(k)(c)
			if change != nil {
				change(c)
			}
		}), k}
	}
	back = made(h.backendWith)
	front := func(name string) func(func(*daemon.Config)) *node {
		return func(c func(*daemon.Config)) *node { return start(h.t, h.create(name), daemon.Frontend, c) }
	}
	return back, made(front("a")), made(front("b"))
}

// cid is the domain's for programs of others.
func (n kernelNode) cid() uint32 { return vsock.CIDOf(n.dom.ID()) }

// says has a program connect to cid, and says how that comes out: what the program at
// the other end then wrote, or the error.
func (n kernelNode) says(cid, port uint32) string {
	c, err := n.kernel.Dial(n.t.Context(), cid, port)
	if err != nil {
		var errno syscall.Errno
		errors.As(err, &errno)
		return errno.Error()
	}
	defer c.Close()
	c.CloseWrite()
	all, err := io.ReadAll(c)
	if err != nil {
		return err.Error()
	}
	return string(all)
}

// greets has a program of the domain tell each caller who it is.
func (n kernelNode) greets(port uint32) {
	n.t.Helper()
	l, err := n.kernel.Listen(port, 128)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				fmt.Fprintf(c, "%d", c.RemoteAddr().CID)
				io.Copy(io.Discard, c)
			}()
		}
	}()
}

// cids are those at which the daemon says that its kernel has an instance.
func (n kernelNode) cids() (all []uint32) {
	for _, i := range n.status().AFVsock.Instances {
		if i.State == "open" {
			all = append(all, i.CID)
		}
	}
	return all
}

func TestProgramsReachOtherDomainsByTheirKernels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.rules = "5000 a b allow\n5000 @backend b allow\n5000 b @backend allow\n"
		back, a, b := h.kernels(nil)
		for _, n := range []kernelNode{back, a, b} {
			n.greets(5000)
			n.greets(22)
		}
		time.Sleep(5 * time.Second)
		const reset, nobody = "connection reset by peer", "no such device"
		for _, tt := range []struct {
			name string
			from kernelNode
			cid  uint32
			port uint32
			want string
		}{
			{"to a peer", a, b.cid(), 5000, fmt.Sprint(a.cid())},
			{"to a port of it that no rule has", a, b.cid(), 22, reset},
			{"the other way", b, a.cid(), 5000, reset},
			{"to the backend", b, vsock.CIDBackend, 5000, fmt.Sprint(b.cid())},
			{"to the backend by its id", b, back.cid(), 5000, fmt.Sprint(b.cid())},
			{"to the backend without a rule", a, vsock.CIDBackend, 5000, reset},
			{"to the manager", a, vsock.CIDBackend, 1, reset},
			{"from the backend", back, b.cid(), 5000, fmt.Sprint(back.cid())},
			{"from the backend without a rule", back, a.cid(), 5000, nobody},
			{"to the domain itself", a, vsock.CIDSelf, 5000, fmt.Sprint(vsock.CIDSelf)},
			{"the backend to itself", back, vsock.CIDBackend, 5000, fmt.Sprint(vsock.CIDSelf)},
			{"to a domain that is none", a, 77, 5000, nobody},
			{"to port 4 from a port of no root", back, b.cid(), services.PortControl, reset},
		} {
			if got := tt.from.says(tt.cid, tt.port); got != tt.want {
				t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
			}
		}
		if got, want := a.cids(), []uint32{vsock.CIDSelf, vsock.CIDBackend, b.cid(), back.cid()}; !slices.Equal(sorted(got), sorted(want)) {
			t.Errorf("instances in a: %v, want %v", got, want)
		}
	})
}

func sorted(list []uint32) []uint32 { return slices.Sorted(slices.Values(list)) }

// What a rule gave, its end takes, from connections too; and a domain that is gone has no
// CID any more.
func TestInstancesComeAndGoWithTheRecordsOfPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.rules = ""
		back, a, b := h.kernels(nil)
		b.greets(5000)
		time.Sleep(5 * time.Second)
		if got := a.says(b.cid(), 5000); got != "no such device" {
			t.Errorf("without a rule: %q", got)
		}
		b.greets(5001)
		back.rules.set("5000-5001 a b allow")
		await(t, fmt.Sprint(a.cid()), time.Second, func() string { return a.says(b.cid(), 5000) })
		c, err := a.kernel.Dial(t.Context(), b.cid(), 5000)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		another, err := a.kernel.Dial(t.Context(), b.cid(), 5001)
		if err != nil {
			t.Fatal(err)
		}
		defer another.Close()
		back.rules.set("5001 a b allow")
		if all, err := io.ReadAll(c); err != nil || string(all) != fmt.Sprint(a.cid()) {
			t.Errorf("what was revoked ends with %q, %v; want the end of file", all, err)
		}
		io.ReadFull(another, make([]byte, len(fmt.Sprint(a.cid()))))
		back.rules.set("")
		// By which side is quicker: ECONNRESET, or the other's RST.
		if n, err := another.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Errorf("when all was revoked a program reads %d bytes, %v", n, err)
		}
		await(t, "no such device", 5*time.Second, func() string { return a.says(b.cid(), 5000) })

		back.rules.set("5000 a b allow")
		await(t, fmt.Sprint(a.cid()), 3*time.Second, func() string { return a.says(b.cid(), 5000) })
		c, err = a.kernel.Dial(t.Context(), b.cid(), 5000)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.ReadFull(c, make([]byte, len(fmt.Sprint(a.cid())))); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		b.dom.Destroy()
		b.stop()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) || time.Since(begin) > 2*time.Second {
			t.Errorf("its peer destroyed, a program reads %v after %v; want ECONNRESET within 2 s", err, time.Since(begin))
		}
		await(t, "no such device", 5*time.Second, func() string { return a.says(b.cid(), 5000) })
	})
}

// talk is a connection of a program of n to one at cid, which has spoken.
func (n kernelNode) talk(cid, port uint32) *afvsocktest.Conn {
	n.t.Helper()
	c, err := n.kernel.Dial(n.t.Context(), cid, port)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { c.Close() })
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		n.t.Fatal(err)
	}
	return c
}

// speaks has a program of the domain say a byte to each caller, and returns what it then
// reads.
func (n kernelNode) speaks(port uint32) <-chan error {
	n.t.Helper()
	l, err := n.kernel.Listen(port, 128)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { l.Close() })
	ends := make(chan error, 8)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.Write([]byte("x"))
				_, err := c.Read(make([]byte, 1))
				ends <- err
			}()
		}
	}()
	return ends
}

// A daemon that is told to stop has its connections end as lost, at both ends: a program
// is not to take a part for the whole.
func TestTheOrderlyEndOfADaemonIsALossToPrograms(t *testing.T) {
	for name, stop := range map[string]func(a, b kernelNode){
		"of the domain that was connected to": func(_, b kernelNode) { b.stop() },
		"of the domain that has connected":    func(a, _ kernelNode) { a.stop() },
		"of both, one after the other":        func(a, b kernelNode) { a.stop(); b.stop() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t)
				_, a, b := h.kernels(nil)
				b.greets(5000)
				ends := b.speaks(5001)
				await(t, fmt.Sprint(a.cid()), 5*time.Second, func() string { return a.says(b.cid(), 5000) })
				var conns []*afvsocktest.Conn
				for range cap(ends) {
					conns = append(conns, a.talk(b.cid(), 5001))
				}
				stop(a, b)
				for _, c := range conns {
					if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
						t.Errorf("who has connected reads %v, want ECONNRESET", err)
					}
					if err := <-ends; !errors.Is(err, syscall.ECONNRESET) {
						t.Errorf("who has accepted reads %v, want ECONNRESET", err)
					}
				}
			})
		})
	}
}

// What comes through the door is lost with all else. The unix socket is a file, so this
// is in real time.
func TestTheOrderlyEndOfADaemonIsALossAtTheDoorToo(t *testing.T) {
	h := newHost(t)
	h.rules = "5001 a b allow\n"
	h.backend()
	door := vsock.Door{Path: filepath.Join(t.TempDir(), "vsock.sock")}
	a := start(t, h.create("a"), daemon.Frontend, func(c *daemon.Config) { c.Bridge.Door = door.Path })
	k := afvsocktest.New()
	b := kernelNode{start(t, h.create("b"), daemon.Frontend, withKernel(k)), k}
	ends := b.speaks(5001)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var c net.Conn
	for {
		var err error
		if c, err = door.DialContext(ctx, "b:5001"); err == nil {
			if _, err = io.ReadFull(c, make([]byte, 1)); err == nil {
				break
			}
			c.Close()
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	defer c.Close()
	begin := time.Now()
	a.stop()
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("the daemon took %v to stop", took)
	}
	if err := <-ends; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the other domain's program reads %v, want ECONNRESET", err)
	}
}

func TestALinkThatWasLostIsMadeAgainForTheNextProgram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		_, a, b := h.kernels(nil)
		b.greets(5000)
		await(t, fmt.Sprint(a.cid()), 5*time.Second, func() string { return a.says(b.cid(), 5000) })
		b.kill()
		if got := a.says(b.cid(), 5000); got == fmt.Sprint(a.cid()) {
			t.Errorf("a program of a domain without a daemon answers")
		}
		k := afvsocktest.New()
		b = kernelNode{start(t, b.dom, daemon.Frontend, withKernel(k)), k}
		b.greets(5000)
		await(t, fmt.Sprint(a.cid()), 10*time.Second, func() string { return a.says(b.cid(), 5000) })
	})
}

func TestAPortThatTheDomainDeniesIsNotForItsPrograms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		_, a, b := h.kernels(func(c *daemon.Config) {
			c.Settings.Deny = []config.PortRange{{First: 6000, Last: 6001}}
		})
		for _, port := range []uint32{5999, 6000, 6001, 6002} {
			b.greets(port)
		}
		await(t, fmt.Sprint(a.cid()), 5*time.Second, func() string { return a.says(b.cid(), 5999) })
		const reset = "connection reset by peer"
		for port, want := range map[uint32]string{6000: reset, 6001: reset, 6002: fmt.Sprint(a.cid())} {
			if got := a.says(b.cid(), port); got != want {
				t.Errorf("port %d: %q, want %q", port, got, want)
			}
		}
		if err := a.ping("b", 1000); err != nil {
			t.Errorf("for root at the control socket: %v", err)
		}
	})
}

func TestAKernelWithoutVhostIsSaidAndAllElseWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		none := fmt.Errorf("%w: load vhost_vsock", vhost.ErrUnavailable)
		_, a, _ := h.kernels(func(c *daemon.Config) {
			c.Bridge.Open = func(uint32) (afvsock.Device, error) { return nil, none }
		})
		time.Sleep(5 * time.Second)
		if s := a.status().AFVsock; s.On || !strings.Contains(s.Reason, none.Error()) {
			t.Errorf("its status says %+v", s)
		}
		if err := a.ping("b", 1000); err != nil {
			t.Error(err)
		}
	})
}

// After a restore a domain has another id, and its peers other CIDs.
func TestProgramsReachOthersAfterARestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.attachAll()
		kb := afvsocktest.New()
		b := kernelNode{start(t, h.Create(sim.DomainConfig{Name: "b"}), daemon.Frontend, withKernel(kb)), kb}
		ka := afvsocktest.New()
		a := kernelNode{start(t, h.Create(sim.DomainConfig{Name: "a"}), resumable(daemon.Frontend), withKernel(ka)), ka}
		h.backend()
		b.greets(5000)
		a.greets(5000)
		await(t, fmt.Sprint(a.cid()), 10*time.Second, func() string { return a.says(b.cid(), 5000) })
		was := a.cid()
		a.restore()
		await(t, "true", 20*time.Second, func() string {
			return fmt.Sprint(a.cid() != was && a.says(b.cid(), 5000) == fmt.Sprint(a.cid()))
		})
		if got := a.says(vsock.CIDSelf, 5000); got != fmt.Sprint(vsock.CIDSelf) {
			t.Errorf("itself: %q", got)
		}
	})
}

// The unix socket is a file, so this is in real time.
func TestProgramsReachOthersThroughTheDoor(t *testing.T) {
	h := newHost(t)
	h.rules = "echo,7000 a b allow\n"
	dir := t.TempDir()
	door := func(name string) vsock.Door { return vsock.Door{Path: filepath.Join(dir, name, "vsock.sock")} }
	with := func(name string) func(*daemon.Config) {
		return func(c *daemon.Config) { c.Bridge.Door = door(name).Path }
	}
	h.backendWith(with("dom0"))
	a := start(t, h.create("a"), daemon.Frontend, with("a"))
	b := start(t, h.create("b"), daemon.Frontend, func(c *daemon.Config) {
		with("b")(c)
		c.Services = append(daemon.Builtin(), daemon.Offer{
			Info: services.Info{Name: "kv", Port: 7000},
			New:  func(services.Identify, *slog.Logger) services.Service { return greeter{} },
		})
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		if list, err := a.services("@backend"); err == nil && len(list) > 2 && strings.Contains(fmt.Sprint(list), "kv") {
			break
		}
		if ctx.Err() != nil {
			t.Fatal("a does not hear of b's service")
		}
		time.Sleep(10 * time.Millisecond)
	}
	id := fmt.Sprint(b.dom.ID())
	for _, tt := range []struct {
		address string
		want    error
	}{
		{"b:7000", nil}, {"b:kv", nil}, {"b:echo", nil}, {id + ":7", nil}, {b.dom.UUID() + ":7000", nil},
		{fmt.Sprintf("%#x:7000", 0x10000+int(b.dom.ID())), nil}, {fmt.Sprintf("%d:7000", 0x10000+int(b.dom.ID())), nil},
		{"self:echo", nil}, {"0x7ff0:echo", nil},
		{"b:7001", syscall.EACCES}, {"b:nosuch", syscall.ECONNREFUSED}, {"nobody:7000", syscall.EHOSTUNREACH},
		{"b:1", syscall.EACCES}, {"@backend:echo", syscall.EHOSTUNREACH}, {"0x7ff1:echo", syscall.EHOSTUNREACH}, {"99:7", syscall.EHOSTUNREACH},
	} {
		c, err := door("a").DialContext(ctx, tt.address)
		if tt.want != nil {
			if !errors.Is(err, tt.want) {
				t.Errorf("%s: %v, want %v", tt.address, err, tt.want)
			}
			if said := `b offers no service "nosuch" that this domain may connect to; see xvsock services`; tt.address == "b:nosuch" && !strings.HasSuffix(err.Error(), ": "+said) {
				t.Errorf("%s: %v, want %s", tt.address, err, said)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.address, err)
			continue
		}
		c.Close()
	}
	if s := a.status().Door; s == nil || s.Path != door("a").Path || s.Refused == 0 {
		t.Errorf("status of the door: %+v", s)
	}
}

// greeter says hello to whoever comes.
type greeter struct{}

func (greeter) Serve(ctx context.Context, l net.Listener) error {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		c, err := l.Accept()
		if err != nil {
			return nil
		}
		io.WriteString(c, "hello")
		c.Close()
	}
}

func TestADoorThatCannotBeOpenedIsSaidAndAllElseWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.backend()
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "vsock.sock"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		a := start(t, h.create("a"), daemon.Frontend, func(c *daemon.Config) { c.Bridge.Door = filepath.Join(dir, "vsock.sock") })
		time.Sleep(5 * time.Second)
		if s := a.status().Door; s == nil || s.On || !strings.Contains(s.Reason, "no socket") {
			t.Errorf("its status says %+v", s)
		}
		if got := a.list("@backend"); !strings.Contains(got, "a/echo") {
			t.Errorf("it sees %q", got)
		}
	})
}
