package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"xvsock/daemon"
	"xvsock/link"
	"xvsock/manager"
	"xvsock/manager/client"
	"xvsock/manager/policy"
	"xvsock/manager/policy/source"
	"xvsock/sim"
	"xvsock/toolstack"
	"xvsock/vsock"
)

// BenchmarkHonestBesideAFlood says what is left of an honest pair's rate while a third
// domain floods the manager: the median of the ratios of neighbouring phases, with
// and without the flood, of one run. A turn is a connection over a link made for it, a
// MiB, and the close. Two domains may not make links as fast as that (link.Ledger), so
// each turn is another pair's, one after the other.
//
// As the budgets usually are, most of a flood waits in the flooder. With the greatest
// ones there are, 10^5 requests of each flood are read and answered at once.
//
// Everything runs in this process: what the flooder spends on its own counts against
// the honest ones too. One run is one measurement whatever b.N is; -count repeats it.
func BenchmarkHonestBesideAFlood(b *testing.B) {
	for name, budgets := range map[string]manager.Budgets{
		"budgets as usual": {},
		"greatest budgets": {Requests: 10_000, Burst: 100_000},
	} {
		b.Run(name, func(b *testing.B) { benchmarkFlood(b, budgets) })
	}
}

func benchmarkFlood(b *testing.B, budgets manager.Budgets) {
	const (
		phases = 11  // of each kind
		turns  = 450 // of a phase
		folk   = 146 // 10585 pairs, each of which has one turn
	)
	t := newTown(b, budgets, folk, phases)
	t.turns(turns) // to warm up
	var ratios, alone, beside []float64
	var offered, answered int64
	for _, evil := range t.evil {
		without := t.turns(turns)
		go evil.flood(1 << 40)
		with := t.turns(turns)
		if evil.ups.Load() != 1 {
			b.Error("the flooder lost its front link")
		}
		offered, answered = offered+evil.offers.Load(), answered+evil.denied.Load()
		evil.stop()
		ratios, alone, beside = append(ratios, with/without), append(alone, without), append(beside, with)
	}
	b.ReportMetric(0, "ns/op") // says nothing
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(median(alone), "alone/s")
	b.ReportMetric(median(beside), "beside/s")
	b.ReportMetric(float64(offered)/phases, "offered/flood")
	b.ReportMetric(float64(answered)/phases, "answered/flood")
	b.Logf("ratios %.3f", ratios)
}

func median(all []float64) float64 { return slices.Sorted(slices.Values(all))[len(all)/2] }

// town is a host with a backend, honest frontends, and flooders that wait.
type town struct {
	b       *testing.B
	members []*member
	evil    []*flooder
	turn    int // the next pair of members
	pairs   [][2]*member
	links   map[uint64]bool // that were used, by their serials
	data    []byte
}

// newTown returns a town in which everybody knows everybody.
func newTown(b *testing.B, budgets manager.Budgets, members, flooders int) *town {
	b.Helper()
	h := sim.NewTest(b)
	serveBackend(b, h, budgets, "7000 * * allow")
	var doms []*sim.Domain
	tools := h.Toolstack()
	defer tools.Close()
	for i := range members + flooders {
		dom := h.Create(sim.DomainConfig{Name: fmt.Sprint("domain-", i)})
		d := toolstack.Domain{ID: dom.ID(), Name: dom.Name(), UUID: dom.UUID()}
		if err := toolstack.Attach(b.Context(), tools, d, toolstack.Domain{}, nil); err != nil {
			b.Fatal(err)
		}
		doms = append(doms, dom)
	}
	t := &town{b: b, links: make(map[uint64]bool), data: make([]byte, mebibyte)}
	for _, dom := range doms[:members] {
		t.members = append(t.members, startMember(b, dom))
	}
	for _, dom := range doms[members:] {
		t.evil = append(t.evil, startFlooder(b, dom))
	}
	for _, m := range t.members {
		m.awaitPeers(b, len(doms)-1)
	}
	// Whoever has a turn has had none for some time.
	for distance := 1; distance <= members/2; distance++ {
		for i := range members {
			if j := (i + distance) % members; 2*distance != members || i < j {
				t.pairs = append(t.pairs, [2]*member{t.members[i], t.members[j]})
			}
		}
	}
	return t
}

// turns has the next n pairs do theirs, and returns how many did in a second.
func (t *town) turns(n int) float64 {
	t.b.Helper()
	time.Sleep(200 * time.Millisecond) // until the links of the last phase are closed
	runtime.GC()
	begin := time.Now()
	for range n {
		if t.turn == len(t.pairs) {
			t.b.Fatal("each pair had its turn")
		}
		from, to := t.pairs[t.turn][0], t.pairs[t.turn][1]
		t.turn++
		serial, err := from.transfer(t.b.Context(), to, t.data)
		if err != nil {
			t.b.Fatalf("turn %d: %v", t.turn, err)
		}
		if t.links[serial] {
			t.b.Fatalf("turn %d: over a link that was there", t.turn)
		}
		t.links[serial] = true
	}
	return float64(n) / time.Since(begin).Seconds()
}

// serveBackend runs the backend's daemon in dom0, with rules that stay.
func serveBackend(b *testing.B, h *sim.Host, budgets manager.Budgets, rules string) {
	b.Helper()
	set, err := policy.Parse([]policy.File{{Name: "test.policy", Text: rules}})
	if err != nil {
		b.Fatal(err)
	}
	d := process(h.Domain(0))
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		err := daemon.Backend(ctx, daemon.Config{
			Domain: d, Rules: constant{set, make(chan struct{})}, Budgets: budgets, Ready: func() { close(ready) },
		})
		if err != nil {
			b.Errorf("backend: %v", err)
		}
	})
	b.Cleanup(func() {
		cancel()
		running.Wait()
		d.Store.Close()
	})
	<-ready
}

// constant is rules that do not change. It implements daemon.Rules.
type constant struct {
	set   *policy.Set
	ready chan struct{}
}

func (c constant) Run(ctx context.Context, apply func(*policy.Set)) error {
	apply(c.set)
	close(c.ready)
	<-ctx.Done()
	return nil
}

func (c constant) Ready() <-chan struct{} { return c.ready }

func (c constant) State() source.State { return source.State{Source: "test"} }

// member is an honest frontend: its part of port 1 is the daemon's own. Links that it
// does not use it closes sooner.
type member struct {
	dom    *sim.Domain
	client *client.Client
	stack  *vsock.Stack
}

// startMember starts an honest frontend in dom, which is attached.
func startMember(b *testing.B, dom *sim.Domain) *member {
	b.Helper()
	d := process(dom)
	c := client.New(client.Config{Domain: d})
	m := &member{dom: dom, client: c, stack: vsock.NewStack(vsock.Config{
		Self: dom.ID(), Guard: c, Broker: c, Idle: 50 * time.Millisecond,
	})}
	l, err := m.stack.Listen(7000)
	if err != nil {
		b.Fatal(err)
	}
	var taking sync.WaitGroup
	taking.Go(func() { takeAll(l) })
	stop := serveFront(d, m.stack, func(ctx context.Context, l *link.Link) { c.Join(ctx, m.stack, l, func() {}) })
	b.Cleanup(func() {
		m.stack.Close()
		c.Close()
		stop()
		taking.Wait()
	})
	return m
}

// takeAll reads each connection to its end, and closes it then.
func takeAll(l net.Listener) {
	buf := make([]byte, 64<<10)
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		for err == nil {
			_, err = c.Read(buf)
		}
		c.Close()
	}
}

// awaitPeers waits until the manager has told of n peers.
func (m *member) awaitPeers(b *testing.B, n int) {
	b.Helper()
	for end := time.Now().Add(30 * time.Second); len(m.client.Peers()) < n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("domain %v knows of %d peers, want %d", m.dom.ID(), len(m.client.Peers()), n)
		}
	}
}

// transfer connects to another member and sends data, returns once all of it was
// read there, and says over which link.
func (m *member) transfer(ctx context.Context, to *member, data []byte) (serial uint64, err error) {
	c, err := m.stack.Dial(ctx, vsock.Addr{CID: vsock.CIDOf(to.dom.ID()), Port: 7000})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := c.Write(data); err != nil {
		return 0, err
	}
	if err := c.CloseWrite(); err != nil {
		return 0, err
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("the other side did not read to the end: %w", err)
	}
	return c.LinkSerial(), nil
}
