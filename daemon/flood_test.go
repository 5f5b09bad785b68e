package daemon_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/daemon"
	"xvsock/link"
	"xvsock/manager"
	"xvsock/manager/port1"
	"xvsock/sim"
	"xvsock/vsock"
	"xvsock/xen"
)

// mebibyte is what an honest connection moves.
const mebibyte = 1 << 20

// process returns what a new process of dom has of the platform. Its Store is the
// caller's to close.
func process(dom *sim.Domain) *link.Domain {
	p := dom.NewProcess()
	return link.NewDomain(dom.ID(), p.Grants(), p.Events(), p.Xenstore())
}

// serveFront keeps the front link of d. stack carries its connections, and meet is
// the frontend's side of port 1, until its context ends. The function that it
// returns ends that and closes the stack; a second call does nothing.
func serveFront(d *link.Domain, stack *vsock.Stack, meet func(context.Context, *link.Link)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var front sync.WaitGroup
	front.Go(func() {
		link.NewFront(d, link.Options{}).Run(ctx, func(ctx context.Context, l *link.Link) error {
			ctx, cancel := context.WithCancel(ctx)
			var met sync.WaitGroup
			met.Go(func() { meet(ctx, l) })
			err := stack.Serve(l, vsock.ToBackend, nil)
			cancel()
			met.Wait()
			return err
		})
	})
	return sync.OnceFunc(func() {
		stack.Close()
		cancel()
		front.Wait()
		d.Store.Close()
	})
}

// flooder is a frontend that wants to keep its manager busy. It says HELLO and
// confirms every PEER, as it must to keep its front link, and asks for links that it
// cannot have.
type flooder struct {
	tb    testing.TB
	id    xen.DomID
	stack *vsock.Stack
	stop  func()

	ups    atomic.Int32  // front links that formed
	told   chan struct{} // closed with the manager's HELLO; conn is set then
	conn   *vsock.Conn
	offers atomic.Int64 // requests that its connection took
	denied atomic.Int64 // requests that the manager answered

	mu    sync.Mutex
	peers []port1.Peer
}

// startFlooder starts a flooder in dom, which is attached, and returns once the
// manager has told it of its peers.
func startFlooder(tb testing.TB, dom *sim.Domain) *flooder {
	tb.Helper()
	f := &flooder{tb: tb, id: dom.ID(), stack: vsock.NewStack(vsock.Config{Self: dom.ID()}), told: make(chan struct{})}
	f.stop = serveFront(process(dom), f.stack, f.meet)
	tb.Cleanup(f.stop)
	select {
	case <-f.told:
	case <-time.After(30 * time.Second):
		tb.Fatal("the manager does not greet the flooder")
	}
	return f
}

// meet holds the conversation with the manager. A second one tells of nothing: the
// flooder was to keep its first link.
func (f *flooder) meet(ctx context.Context, l *link.Link) {
	if f.ups.Add(1) > 1 {
		return
	}
	for {
		var err error
		f.conn, err = f.stack.DialPrivileged(ctx, vsock.Addr{CID: vsock.CIDBackend, Port: vsock.PortManager})
		if err == nil {
			break
		}
		if l.Err() != nil || ctx.Err() != nil {
			return
		}
		time.Sleep(time.Millisecond) // until the connections of the link are run
	}
	f.send(port1.Hello{ID: 1})
	for msgs := port1.NewConn(f.conn); ; {
		h, msg, err := msgs.Read()
		if err == nil {
			err = f.take(h, msg)
		}
		if err != nil {
			l.End(link.Lost, err)
			return
		}
	}
}

// send sends a message. Whether it arrives shows in what comes back.
func (f *flooder) send(m interface{ Append([]byte) []byte }) { f.conn.Write(m.Append(nil)) }

// take takes a message. The answers come in the order of the requests.
func (f *flooder) take(h port1.Header, msg []byte) error {
	switch h.Type {
	case port1.TypePeer:
		p, err := port1.ParsePeer(msg)
		if err != nil {
			return err
		}
		f.mu.Lock()
		f.peers = append(f.peers, p)
		f.mu.Unlock()
		f.send(port1.PeerAck{ID: p.ID})
	case port1.TypeHello:
		close(f.told)
	case port1.TypeConnectRsp:
		a, err := port1.ParseConnectRsp(msg)
		n := f.denied.Add(1)
		if err != nil || a.ID != uint64(n) || a.Result != port1.Denied && a.Result != port1.Unreachable {
			f.tb.Errorf("answer %d of the manager to the flooder: %+v, %v", n, a, err)
		}
	default:
		return fmt.Errorf("the manager sends %v", h.Type)
	}
	return nil
}

// asks are requests that are refused: for each peer, but a port that is not allowed,
// for no domain, and for the flooder's own.
func (f *flooder) asks() []port1.ConnectReq {
	f.mu.Lock()
	defer f.mu.Unlock()
	asks := []port1.ConnectReq{{Domain: 30000, Port: 7}, {Domain: f.id, Port: 7}}
	for _, p := range f.peers {
		asks = append(asks, port1.ConnectReq{Domain: p.Domain, Attachment: p.Attachment, Port: 6666})
	}
	return asks
}

// flood asks for n links, as fast as the connection takes the requests. It returns
// when all are taken or the connection has ended.
func (f *flooder) flood(n int64) {
	asks := f.asks()
	var batch []byte
	for sent := int64(0); sent < n; {
		batch = batch[:0]
		for range min(100, n-sent) {
			q := asks[sent%int64(len(asks))]
			sent++
			q.ID = uint64(sent)
			batch = q.Append(batch)
		}
		if _, err := f.conn.Write(batch); err != nil {
			return
		}
		f.offers.Store(sent)
	}
}

// Hostile behaviour 19, in virtual time: 10^5 requests are read as slowly as the
// budget says, all of them, and cost nobody but the flooder anything.
func TestAFloodOfRequestsTakesNothingFromOthers(t *testing.T) {
	for _, c := range []struct {
		name, rules string
		lines       int // of the backend's log at once, besides one a second
	}{
		{name: "rules that say nothing", rules: "echo * * allow"},
		{name: "a rule that wants each refusal in the log", rules: "echo * * allow\n6666 * * deny log", lines: 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testFlood(t, c.rules, c.lines) })
		})
	}
}

func testFlood(t *testing.T, rules string, atOnce int) {
	flood := int64(100_000)
	if testing.Short() {
		flood = 20_000
	}
	budget := manager.DefaultBudgets()
	h := newHost(t)
	h.rules = rules
	said := new(lines)
	back := h.backendWith(func(c *daemon.Config) { c.Log = said.log() })
	a, b := h.startPair()
	evil := startFlooder(t, h.create("flooder"))
	time.Sleep(time.Minute)
	alone := a.useNewLink(b)
	threads, heap, logged := goroutines(), objects(), len(said.String())

	const beside = 10 * time.Millisecond // the pump leaves it to readers for so long
	begin := time.Now()
	go evil.flood(flood)
	connects := 0
	for ; evil.denied.Load() < flood && time.Since(begin) < time.Hour; connects++ {
		if took := a.useNewLink(b); took > alone+beside {
			t.Errorf("connection %d beside the flood took %v, alone %v", connects, took, alone)
		}
		passed := time.Since(begin)
		if n, most := evil.denied.Load(), int64(budget.Burst)+int64(passed.Seconds()*float64(budget.Requests)); n > most {
			t.Fatalf("%d requests were answered in %v, want %d at most", n, passed, most)
		}
	}
	passed := time.Since(begin)
	t.Logf("%d connections beside %d requests in %v", connects, evil.denied.Load(), passed)

	l := back.linkOf(evil.id)
	if evil.ups.Load() != 1 || !l.Up {
		t.Fatalf("the flooder's link formed %d times, and is %s", evil.ups.Load(), l.State)
	}
	if l.Use.Denied != uint64(flood) || l.Use.Delayed < uint64(flood)/2 {
		t.Errorf("the backend says of the flooder: %+v", l.Use)
	}
	checkLog(t, said.String()[logged:], atOnce)
	if n := goroutines(); n != threads {
		t.Errorf("%d goroutines after the flood, %d before", n, threads)
	}
	if n := objects(); n > heap+1000 {
		t.Errorf("%d objects in the heap after the flood, %d before", n, heap)
	}
}

// checkLog checks that there are so many lines at once at most, and one a second else.
func checkLog(t *testing.T, text string, atOnce int) {
	t.Helper()
	perSecond := make(map[string]int)
	more := 0 // than one a second
	for line := range strings.Lines(text) {
		second := line[:len("time=2006-01-02T15:04:05")]
		if perSecond[second]++; perSecond[second] > 1 {
			more++
		}
	}
	if more > atOnce {
		t.Errorf("the backend logs %d lines in %d seconds, %d of them not one a second", strings.Count(text, "\n"), len(perSecond), more)
	}
}

// useNewLink pings to with a MiB over a link that is made for that, returns how long
// it took, and waits until the link is closed because nobody uses it.
func (n *node) useNewLink(to *node) time.Duration {
	n.t.Helper()
	if l := n.to(to); l.State != "idle" {
		n.t.Fatalf("before the connection: the link is %q", l.State)
	}
	begin := time.Now()
	if err := n.ping(to.dom.ID().String(), mebibyte); err != nil {
		n.t.Errorf("connect and transfer: %v", err)
	}
	took := time.Since(begin)
	time.Sleep(70 * time.Second)
	return took
}

// linkOf is what a daemon says of its link to a domain.
func (n *node) linkOf(id xen.DomID) (l daemon.Link) {
	n.t.Helper()
	all := n.status().Links
	if i := slices.IndexFunc(all, func(l daemon.Link) bool { return l.Domain == uint16(id) }); i >= 0 {
		l = all[i]
	}
	return l
}

// objects is how many objects there are in the heap that something refers to.
func objects() uint64 {
	runtime.GC()
	runtime.GC() // what pools have kept
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapObjects
}
