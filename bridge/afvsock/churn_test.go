package afvsock

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"xvsock/bridge/vhost"
	"xvsock/mux"
	"xvsock/vsock"
	"xvsock/xen"
)

// ends are the ports of a connection and whose it is.
type ends struct {
	relay         mux.Relay
	local, remote uint32
}

// modelStack keeps the tuples that links would have. It is the session of each link
// too.
type modelStack struct {
	mu     sync.Mutex
	tuples map[ends]bool
	down   map[uint32]bool // CIDs without a link
	refuse bool            // Reach fails
}

func (s *modelStack) Send(cid uint32, r mux.Relay, p mux.Packet, _ []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := ends{r, p.Local, p.Remote}
	switch {
	case s.down[cid] && p.Op == mux.OpRequest:
		return vsock.ErrNoLink
	case p.Op == mux.OpRequest && !s.tuples[e]:
		s.tuples[e] = true
		return nil
	case p.Op == mux.OpReset:
		delete(s.tuples, e)
		return nil
	case s.tuples[e] && p.Op != mux.OpRequest:
		return nil
	}
	return &mux.ResetError{}
}

func (s *modelStack) Withdraw(_ uint32, r mux.Relay) { s.drop(r) }

func (s *modelStack) drop(r mux.Relay) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := range s.tuples {
		if e.relay == r {
			delete(s.tuples, e)
		}
	}
}

func (s *modelStack) Reach(ctx context.Context, addr vsock.Addr) error {
	select {
	case <-time.After(50 * time.Millisecond):
	case <-ctx.Done():
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse {
		return errors.New("no")
	}
	delete(s.down, addr.CID)
	return nil
}

func (s *modelStack) Peers() []vsock.Peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	count := make(map[xen.DomID]int)
	for e := range s.tuples {
		count[e.relay.(*instance).peer.Domain]++
	}
	var all []vsock.Peer
	for id, n := range count {
		all = append(all, vsock.Peer{Domain: id, Relayed: n})
	}
	return all
}

// modelSession is one link.
type modelSession struct{ s *modelStack }

func (m modelSession) Wake()                { m.s.Peers() } // takes the session's lock
func (m modelSession) Withdraw(r mux.Relay) { m.s.drop(r) }

// request is what a link's pump does with a REQUEST of its domain.
func (m modelSession) request(r mux.Relay, port uint32) {
	p := mux.Packet{Local: 80, Remote: port, Type: 1, Op: mux.OpRequest}
	m.s.mu.Lock()
	m.s.tuples[ends{r, p.Local, p.Remote}] = true
	m.s.mu.Unlock()
	r.(*instance).deliver(m, p, nil, nil)
}

// lose is what a link's end does.
func (m modelSession) lose(r mux.Relay) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	for e := range m.s.tuples {
		if e.relay == r {
			delete(m.s.tuples, e)
		}
	}
	r.Lost()
}

// churn is the world of TestChurn.
type churn struct {
	*rig
	model   *modelStack
	ended   chan struct{}
	wanted  []Peer
	refused map[uint32]error
}

const churnMax = 5

func newChurn(t *testing.T) *churn {
	c := &churn{
		rig:     newRig(t, Config{Max: churnMax}),
		model:   &modelStack{tuples: make(map[ends]bool), down: make(map[uint32]bool)},
		ended:   make(chan struct{}),
		refused: make(map[uint32]error),
	}
	c.rig.slow = 20 * time.Millisecond
	c.rig.refuse = func(cid uint32) error { return c.refused[cid] }
	ctx, cancel := context.WithCancel(context.Background())
	c.stop = cancel
	go func() {
		c.s.Run(ctx, c.model)
		close(c.ended)
	}()
	return c
}

// pick returns one of the open devices and its instance, or nil.
func (c *churn) pick(t *rapid.T) (*fakeDevice, *instance) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	var all []*instance
	for _, sl := range c.s.sorted() {
		if sl.inst != nil {
			all = append(all, sl.inst)
		}
	}
	if len(all) == 0 {
		return nil, nil
	}
	i := rapid.SampledFrom(all).Draw(t, "instance")
	return i.dev.(*fakeDevice), i
}

func (c *churn) setPeers(t *rapid.T) {
	ids := rapid.SliceOfNDistinct(rapid.Uint32Range(5, 12), 0, 8, rapid.ID).Draw(t, "peers")
	c.wanted = nil
	for _, id := range ids {
		c.wanted = append(c.wanted, Peer{id, xen.DomID(id)})
	}
	c.s.SetPeers(c.wanted)
}

func (c *churn) setRefuse(t *rapid.T) {
	cid := rapid.Uint32Range(5, 12).Draw(t, "cid")
	err := rapid.SampledFrom([]error{nil, nil, errors.New("busy"), vhost.ErrUnavailable}).Draw(t, "error")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused[cid] = err
}

func (c *churn) kernelSends(t *rapid.T) {
	d, _ := c.pick(t)
	if d == nil {
		return
	}
	h := vhost.Header{
		Src: rapid.Uint32Range(0, 5).Draw(t, "port"), Dst: 80,
		Type: uint16(rapid.IntRange(0, 3).Draw(t, "type")), Op: uint16(rapid.IntRange(0, 8).Draw(t, "op")),
	}
	select {
	case d.in <- parcel{h: h}:
	case <-d.end:
	case <-time.After(time.Second): // of an instance that is being closed
	}
}

func (c *churn) linkSends(t *rapid.T) {
	id := xen.DomID(rapid.Uint32Range(5, 12).Draw(t, "domain"))
	r := c.s.Relay(id)
	if r == nil {
		return
	}
	if rapid.Bool().Draw(t, "late") {
		synctest.Wait() // the instance may have gone since the pump asked
		time.Sleep(time.Second)
	}
	modelSession{c.model}.request(r, 5000)
}

func (c *churn) link(t *rapid.T) {
	c.model.mu.Lock()
	defer c.model.mu.Unlock()
	c.model.down[rapid.Uint32Range(5, 12).Draw(t, "cid")] = true
	c.model.refuse = rapid.Bool().Draw(t, "refuse")
}

func TestChurn(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		inBubble(t, func() {
			c := newChurn(t)
			defer func() { c.stop(); <-c.ended }() // also if rapid stops it
			rt.Repeat(map[string]func(*rapid.T){
				"peers":  c.setPeers,
				"refuse": c.setRefuse,
				"kernel": c.kernelSends,
				"link":   c.linkSends,
				"down":   c.link,
				"lost": func(t *rapid.T) {
					if _, i := c.pick(t); i != nil {
						modelSession{c.model}.lose(i)
					}
				},
				"reset": func(t *rapid.T) {
					if _, i := c.pick(t); i != nil {
						i.Reset(data(1))
					}
				},
				"room": func(t *rapid.T) {
					if d, _ := c.pick(t); d != nil {
						d.allow(rapid.SampledFrom([]int{-1, 0, 1}).Draw(t, "room"))
					}
				},
				"pass":   func(t *rapid.T) { time.Sleep(time.Duration(rapid.IntRange(1, 3000).Draw(t, "ms")) * time.Millisecond) },
				"settle": func(*rapid.T) { synctest.Wait() },
			})
			c.finish(rt)
		})
	})
}

// finish lets everything come to rest and checks that all is as it should be.
func (c *churn) finish(t *rapid.T) {
	c.mu.Lock()
	clear(c.refused)
	c.mu.Unlock()
	for _, d := range c.opened() {
		d.allow(-1)
	}
	pass(3 * time.Minute)
	c.checkRest(t)
	c.stop()
	<-c.ended
	synctest.Wait()
	if live := c.live(); len(live) > 0 {
		t.Errorf("still open after Run: %v", live)
	}
	if n := len(c.model.tuples); n > 0 {
		t.Errorf("%d connections left after Run", n)
	}
}

func (c *churn) checkRest(t *rapid.T) {
	live := c.live()
	var wanted []uint32
	for _, p := range c.wanted {
		wanted = append(wanted, p.CID)
	}
	slices.Sort(wanted)
	for _, cid := range live {
		if !slices.Contains(wanted, cid) {
			t.Errorf("instance of %d, which nobody wants", cid)
		}
	}
	if want := min(len(wanted), churnMax); len(live) != want || len(slices.Compact(live)) != want {
		t.Errorf("instances of %v, wanted were %v and at most %d", live, wanted, churnMax)
	}
	c.model.mu.Lock()
	defer c.model.mu.Unlock()
	for e := range c.model.tuples {
		if i := e.relay.(*instance); i.dev.(*fakeDevice).gone() {
			t.Errorf("a connection of domain %d is open whose instance is gone", i.peer.Domain)
		}
	}
}

// inBubble runs f in a bubble of its own. rapid stops a test by a panic, which
// must not come out in the bubble's goroutine.
func inBubble(t *testing.T, f func()) {
	var stopped any
	synctest.Test(t, func(*testing.T) {
		defer func() { stopped = recover() }()
		f()
	})
	if stopped != nil {
		panic(stopped)
	}
}
