package daemon_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"xvsock/daemon"
	"xvsock/link"
	"xvsock/manager/policy"
	"xvsock/manager/policy/source"
	"xvsock/services"
	"xvsock/services/discovery"
	"xvsock/services/varlink"
	"xvsock/sim"
	"xvsock/toolstack"
	"xvsock/vsock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// socket is a control socket within the process, so that time in a bubble goes on
// while somebody waits at it. Of its goroutines none outlives Close.
type socket struct {
	conns  chan net.Conn
	closed chan struct{}
	close  sync.Once
}

func newSocket() *socket { return &socket{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (s *socket) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

func (s *socket) Close() error {
	s.close.Do(func() { close(s.closed) })
	return nil
}

func (s *socket) Addr() net.Addr { return &net.UnixAddr{Name: "control", Net: "unix"} }

// call makes one call, as a command does.
func (s *socket) call(ctx context.Context, method string, in, out any) error {
	near, far := net.Pipe()
	select {
	case s.conns <- far:
	case <-s.closed:
		return net.ErrClosed
	}
	// A ping takes its time; the bound of a client is not what is tested here.
	c := varlink.NewClient(near, varlink.Limits{Idle: 24 * time.Hour})
	defer c.Close()
	return c.Call(ctx, method, in, out)
}

// node is a domain with its daemon.
type node struct {
	t       *testing.T
	dom     *sim.Domain
	proc    *sim.Process
	control *socket
	rules   *rules // of a backend
	cancel  context.CancelFunc
	done    chan error
	ended   bool
}

type run func(context.Context, daemon.Config) error

// start runs a daemon in a new process of dom; change, if given, changes how.
func start(t *testing.T, dom *sim.Domain, f run, change func(*daemon.Config)) *node {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	n := &node{t: t, dom: dom, proc: dom.NewProcess(), control: newSocket(), cancel: cancel, done: make(chan error, 1)}
	store := n.proc.Xenstore()
	ready := make(chan struct{})
	cfg := daemon.Config{
		Domain: link.NewDomain(dom.ID(), n.proc.Grants(), n.proc.Events(), store),
		Name:   dom.Name(), Version: "test", Services: daemon.Builtin()[:1], Control: n.control, // echo
		Ready: func() { close(ready) },
		Log:   slog.New(slog.NewTextHandler(t.Output(), nil)).With("daemon", dom.Name()),
	}
	if change != nil {
		change(&cfg)
	}
	go func() {
		err := f(ctx, cfg)
		store.Close()
		n.done <- err
	}()
	select {
	case <-ready:
	case err := <-n.done:
		t.Fatalf("%s: daemon ended: %v", dom.Name(), err)
	}
	t.Cleanup(func() { n.stop() })
	return n
}

// stop ends the daemon in order and returns what it said.
func (n *node) stop() error {
	n.cancel()
	return n.result()
}

// result waits for the daemon's end.
func (n *node) result() error {
	if n.ended {
		return nil
	}
	n.ended = true
	return <-n.done
}

// kill ends the daemon as SIGKILL does.
func (n *node) kill() {
	n.proc.Kill()
	n.stop()
}

// host is a simulated host, its toolstack, and the rules of its backend.
type host struct {
	*sim.Host
	t     *testing.T
	rules string // when a backend starts
}

func newHost(t *testing.T) *host { return &host{Host: sim.NewTest(t), t: t, rules: "* * * allow"} }

// create makes a domain, attached to dom0.
func (h *host) create(name string) *sim.Domain {
	h.t.Helper()
	dom := h.Create(sim.DomainConfig{Name: name})
	h.attach(dom)
	return dom
}

// attach attaches a domain to dom0.
func (h *host) attach(dom *sim.Domain) {
	h.t.Helper()
	tools := h.Toolstack()
	defer tools.Close()
	d, err := toolstack.Describe(h.t.Context(), tools, dom.ID())
	if err == nil {
		err = toolstack.Attach(h.t.Context(), tools, d, toolstack.Domain{ID: 0}, nil)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// backend starts the backend in dom0.
func (h *host) backend() *node { return h.backendWith(func(*daemon.Config) {}) }

// backendWith starts it as change says.
func (h *host) backendWith(change func(*daemon.Config)) *node {
	h.t.Helper()
	rules := newRules(h.t, h.rules)
	n := start(h.t, h.Domain(0), daemon.Backend, func(c *daemon.Config) {
		c.Rules = rules
		change(c)
	})
	n.rules = rules
	return n
}

// rules is a source of policy that a test changes. It implements daemon.Rules.
type rules struct {
	t       *testing.T
	next    chan *policy.Set
	applied chan struct{}
	ready   chan struct{}
	text    string // the first ones
}

func newRules(t *testing.T, text string) *rules {
	return &rules{t: t, next: make(chan *policy.Set), applied: make(chan struct{}), ready: make(chan struct{}), text: text}
}

// parse reads rules.
func (r *rules) parse(text string) *policy.Set {
	r.t.Helper()
	set, err := policy.Parse([]policy.File{{Name: "test.policy", Text: text}})
	if err != nil {
		r.t.Fatal(err)
	}
	return set
}

// set puts other rules in force, and returns when they are.
func (r *rules) set(text string) {
	r.t.Helper()
	r.next <- r.parse(text)
	<-r.applied
}

func (r *rules) Run(ctx context.Context, apply func(*policy.Set)) error {
	apply(r.parse(r.text))
	close(r.ready)
	for {
		select {
		case set := <-r.next:
			apply(set)
			r.applied <- struct{}{}
		case <-ctx.Done():
			return nil
		}
	}
}

func (r *rules) Ready() <-chan struct{} { return r.ready }

func (r *rules) State() source.State { return source.State{Source: "test", Version: "1"} }

// services asks a daemon for the services of a domain.
func (n *node) services(domain string) ([]discovery.Record, error) {
	var out daemon.ServicesReply
	err := n.control.call(n.t.Context(), daemon.MethodServices, daemon.ServicesArgs{Domain: domain}, &out)
	return out.Services, err
}

// list is services as "domain/name domain/name", sorted, without those that every
// domain has beside discovery.
func (n *node) list(domain string) string {
	n.t.Helper()
	records, err := n.services(domain)
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, r := range records {
		if r.Port < services.PortHealth || r.Port > services.PortLog {
			all = append(all, r.Domain+"/"+r.Name)
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// status asks a daemon for its status.
func (n *node) status() (s daemon.Status) {
	n.t.Helper()
	if err := n.control.call(n.t.Context(), daemon.MethodStatus, nil, &s); err != nil {
		n.t.Fatal(err)
	}
	return s
}

// ping asks a daemon to ping a domain.
func (n *node) ping(domain string, bytes int64) error {
	return n.control.call(n.t.Context(), daemon.MethodPing, daemon.PingArgs{Domain: domain, Bytes: bytes}, nil)
}

// await waits until look gives want.
func await(t *testing.T, want string, within time.Duration, look func() string) {
	t.Helper()
	got := look()
	for stop := time.Now().Add(within); got != want; got = look() {
		if time.Now().After(stop) {
			t.Fatalf("after %v: %q, want %q", within, got, want)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// peer is a frontend whose program is the test's: it has a link and a stack, and
// no daemon.
type peer struct {
	stack *vsock.Stack
	links chan *link.Link
}

// startPeer runs a frontend without a daemon.
func startPeer(t *testing.T, dom *sim.Domain) *peer {
	t.Helper()
	proc := dom.NewProcess()
	store := proc.Xenstore()
	p := &peer{stack: vsock.NewStack(vsock.Config{Self: dom.ID()}), links: make(chan *link.Link, 10)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		d := link.NewDomain(dom.ID(), proc.Grants(), proc.Events(), store)
		done <- link.NewFront(d, link.Options{}).Run(ctx, func(_ context.Context, l *link.Link) error {
			p.links <- l
			return p.stack.Serve(l, vsock.ToBackend, nil)
		})
	}()
	t.Cleanup(func() {
		cancel()
		p.stack.Close()
		<-done
		store.Close()
	})
	return p
}

// serve answers on a port by handle, one connection at a time.
func (p *peer) serve(t *testing.T, port uint32, handle func(*vsock.Conn)) {
	t.Helper()
	l, err := p.stack.Listen(port)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			handle(c.(*vsock.Conn))
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
}

// code is the name of the error reply in err, without its interface.
func code(err error) string {
	var reply *varlink.Error
	if errors.As(err, &reply) {
		return reply.Name[strings.LastIndexByte(reply.Name, '.')+1:]
	}
	if err == nil || errors.Is(err, io.EOF) {
		return ""
	}
	return err.Error()
}

// lines is a log that a test reads.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

// log returns the logger that writes it.
func (l *lines) log() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lines) count(text string) int { return strings.Count(l.String(), text) }
