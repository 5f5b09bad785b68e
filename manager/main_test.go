package manager_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"xvsock/link"
	"xvsock/manager"
	"xvsock/manager/policy"
	"xvsock/sim"
	"xvsock/toolstack"
	"xvsock/vsock"
	"xvsock/xenstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a host with a backend that runs a Manager, and the toolstack.
type rig struct {
	t       *testing.T
	host    *sim.Host
	tools   *xenstore.Client
	back    *sim.Domain
	budgets manager.Budgets
	*process
	manager *manager.Manager
	log     logged
	changes atomic.Int32 // calls of Changed

	mu   sync.Mutex
	ups  []manager.Identity
	down []manager.Identity
}

// process is a program in a domain: the stack of its sockets, and what ends it.
type process struct {
	proc   *sim.Process
	store  *xenstore.Client
	stack  *vsock.Stack
	cancel context.CancelFunc
	done   chan error
}

// newProcess makes a process of dom that does nothing yet.
func newProcess(dom *sim.Domain) (*process, *link.Domain) {
	proc := dom.NewProcess()
	p := &process{proc: proc, store: proc.Xenstore(), done: make(chan error, 1)}
	return p, link.NewDomain(dom.ID(), proc.Grants(), proc.Events(), p.store)
}

// start lets the process run.
func (p *process) start(t *testing.T, cfg vsock.Config, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(t.Context())
	p.cancel, p.stack = cancel, vsock.NewStack(cfg)
	go func() { p.done <- run(ctx) }()
}

// stop ends the process in order and returns what it said.
func (p *process) stop() error {
	p.cancel()
	p.stack.Close()
	err := <-p.done
	p.store.Close()
	return err
}

// kill ends the process as SIGKILL does.
func (p *process) kill() {
	p.proc.Kill()
	p.stop()
}

// newRig starts a Manager in dom0, or in a domain of its own.
func newRig(t *testing.T, dom0 bool) *rig {
	t.Helper()
	r := &rig{t: t, host: sim.NewTest(t)}
	r.tools = r.host.Toolstack()
	r.back = r.host.Domain(0)
	if !dom0 {
		r.back = r.host.Create(sim.DomainConfig{Name: "backend"})
	}
	r.startManager()
	t.Cleanup(func() {
		if r.process != nil {
			r.stop()
		}
		r.tools.Close()
	})
	return r
}

// startManager starts the Manager in a new process. It has no policy.
func (r *rig) startManager() {
	p, d := newProcess(r.back)
	m := manager.New(manager.Config{
		Domain: d, Log: slog.New(&r.log), Budgets: r.budgets,
		Self:    policy.Domain{ID: r.back.ID(), Name: "the-backend", UUID: r.back.UUID()},
		Up:      func(who manager.Identity, _ *link.Link) { r.note(&r.ups, who) },
		Down:    func(who manager.Identity, _ *link.Link) { r.note(&r.down, who) },
		Changed: func() { r.changes.Add(1) },
	})
	r.process, r.manager = p, m
	p.start(r.t, vsock.Config{Self: r.back.ID(), Backend: true, Guard: m}, func(ctx context.Context) error {
		return m.Run(ctx, p.stack)
	})
}

// policy makes these rules the manager's.
func (r *rig) policy(rules ...string) {
	r.t.Helper()
	r.manager.SetPolicy(parse(r.t, rules...))
}

// parse returns a set of these rules.
func parse(t testing.TB, rules ...string) *policy.Set {
	t.Helper()
	set, err := policy.Parse([]policy.File{{Name: "test", Text: strings.Join(rules, "\n")}})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func (r *rig) note(list *[]manager.Identity, who manager.Identity) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*list = append(*list, who)
}

// attach attaches dom to the rig's backend under a name.
func (r *rig) attach(dom *sim.Domain, name string, tags ...string) {
	r.t.Helper()
	d := toolstack.Domain{ID: dom.ID(), Name: name, UUID: dom.UUID()}
	if err := toolstack.Attach(r.t.Context(), r.tools, d, toolstack.Domain{ID: r.back.ID()}, tags); err != nil {
		r.t.Fatal(err)
	}
}

// create makes a domain, attached under its own name.
func (r *rig) create(name string) *sim.Domain {
	r.t.Helper()
	dom := r.host.Create(sim.DomainConfig{Name: name})
	r.attach(dom, name)
	return dom
}

// front is a frontend's daemon, and the links that it had.
type front struct {
	*process
	links chan *link.Link
}

// frontend starts a frontend's daemon in dom. meet is what it does on port 1; nil
// is what it should.
func (r *rig) frontend(dom *sim.Domain, meet func(context.Context, *vsock.Stack, *link.Link)) *front {
	if meet == nil {
		meet = func(ctx context.Context, s *vsock.Stack, l *link.Link) { newGuest(r.t, dom).meet(ctx, s, l) }
	}
	f := &front{links: make(chan *link.Link, 100)}
	p, d := newProcess(dom)
	f.process = p
	p.start(r.t, vsock.Config{Self: dom.ID()}, func(ctx context.Context) error {
		return link.NewFront(d, link.Options{}).Run(ctx, func(ctx context.Context, l *link.Link) error {
			f.links <- l
			ctx, cancel := context.WithCancel(ctx)
			var met sync.WaitGroup
			met.Go(func() { meet(ctx, p.stack, l) })
			err := p.stack.Serve(l, vsock.ToBackend, nil)
			cancel()
			met.Wait()
			return err
		})
	})
	r.t.Cleanup(func() { f.stop() })
	return f
}

// next returns the next link that forms.
func (f *front) next(t *testing.T) *link.Link {
	t.Helper()
	select {
	case l := <-f.links:
		return l
	case <-time.After(2 * time.Minute):
		t.Fatal("no link forms")
		return nil
	}
}

// cause waits until l has ended and returns why.
func cause(t *testing.T, l *link.Link, within time.Duration) link.Cause {
	t.Helper()
	select {
	case <-l.Done():
		return link.CauseOf(l.Err())
	case <-time.After(within):
		t.Fatalf("link is up after %v", within)
		return 0
	}
}

// bubble runs a test in a synctest bubble.
func bubble(t *testing.T, f func(t *testing.T)) { synctest.Test(t, f) }

// logged is a log that counts its lines by message.
type logged struct {
	mu    sync.Mutex
	lines map[string]int
}

func (l *logged) Enabled(context.Context, slog.Level) bool { return true }

func (l *logged) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lines == nil {
		l.lines = make(map[string]int)
	}
	l.lines[r.Message]++
	return nil
}

func (l *logged) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *logged) WithGroup(string) slog.Handler      { return l }

// count is how often a message was logged.
func (l *logged) count(message string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines[message]
}
