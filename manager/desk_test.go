package manager

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"xvsock/link"
	"xvsock/manager/policy"
	"xvsock/manager/port1"
	"xvsock/xen"
)

// desk is a Manager without a host: the test hands it the frontends' messages and
// takes its own.
type desk struct {
	*Manager
	attached int
}

// newDesk returns a Manager with frontends 1 to n, named d1 and so on.
func newDesk(n int, budgets Budgets, rules ...string) *desk {
	d := &desk{Manager: New(Config{Budgets: budgets, Self: policy.Domain{Name: "dom0"}})}
	d.scanned = true
	d.rule(rules...)
	for id := range xen.DomID(n) {
		d.attach(id+1, fmt.Sprint("d", id+1))
	}
	return d
}

// rule sets the policy.
func (d *desk) rule(rules ...string) {
	set, err := policy.Parse([]policy.File{{Name: "test", Text: strings.Join(rules, "\n")}})
	if err != nil {
		panic(err)
	}
	d.SetPolicy(set)
}

// attach attaches a frontend, or attaches it anew.
func (d *desk) attach(id xen.DomID, name string) {
	d.attached++
	who := Identity{
		Domain: id, Name: name, Attachment: fmt.Sprintf("%032x", d.attached),
		UUID: fmt.Sprintf("00000000-0000-0000-0000-%012x", id),
	}
	subject := who.domain()
	d.changing.Lock()
	defer d.changing.Unlock()
	f := d.frontends[id]
	if f != nil {
		d.enter(id, &subject, func() { f.identify(who) })
		return
	}
	f = newFrontend(d.Manager, who)
	d.enter(id, &subject, func() { d.frontends[id] = f })
}

// open begins a conversation with a frontend over conn.
func (d *desk) open(id xen.DomID, conn net.Conn) *conversation {
	l, _, err := link.Loop(id, link.Options{})
	if err != nil {
		panic(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.frontends[id]
	f.link = l
	f.talk = newConversation(f, conn)
	return f.talk
}

// join begins a conversation and says HELLO in it.
func (d *desk) join(id xen.DomID, links ...port1.Live) *conversation {
	c := d.open(id, &tape{})
	if err := c.hear(port1.Hello{ID: 1, Links: links}); err != nil {
		panic(err)
	}
	return c
}

// hear lets the manager take a message.
func (c *conversation) hear(m interface{ Append([]byte) []byte }) error {
	b := m.Append(nil)
	h, err := port1.ParseHeader(b)
	if err != nil {
		return err
	}
	return c.handle(context.Background(), h, b)
}

// ask is a request for a link to another frontend.
func (d *desk) ask(id uint64, to xen.DomID, port uint32) port1.ConnectReq {
	return port1.ConnectReq{
		ID: id, Domain: to, Port: port, Attachment: d.frontends[to].attachment, Terms: port1.Terms{Generation: id},
	}
}

// tape is a connection from which given bytes come, and that takes all.
type tape struct{ in []byte }

func (c *tape) Read(b []byte) (int, error) {
	if len(c.in) == 0 {
		return 0, io.EOF
	}
	n := copy(b, c.in)
	c.in = c.in[n:]
	return n, nil
}

func (c *tape) Write(b []byte) (int, error)      { return len(b), nil }
func (c *tape) Close() error                     { return nil }
func (c *tape) LocalAddr() net.Addr              { return nil }
func (c *tape) RemoteAddr() net.Addr             { return nil }
func (c *tape) SetDeadline(time.Time) error      { return nil }
func (c *tape) SetReadDeadline(time.Time) error  { return nil }
func (c *tape) SetWriteDeadline(time.Time) error { return nil }

// refusals are requests that are refused in each of the ways.
func refusals(d *desk) map[string][]byte {
	old := d.ask(1, 2, 7)
	old.Attachment[0]++
	return map[string][]byte{
		"denied":         d.ask(1, 2, 8).Append(nil),
		"unreachable":    d.ask(1, 3, 7).Append(nil),
		"no such domain": port1.ConnectReq{ID: 1, Domain: 99, Port: 7}.Append(nil),
		"old attachment": old.Append(nil),
		"over budget":    d.ask(1, 2, 7).Append(nil),
	}
}

// noBudget has a frontend refused for its budget, and never for its speed.
var noBudget = Budgets{Requests: 1 << 30, Burst: 1 << 30, HalfOpen: -1}

// A denial costs no allocation, from the request to the answer's bytes.
func TestADenialAllocatesNothing(t *testing.T) {
	d := newDesk(3, noBudget, "7 d1 d2 allow")
	c := d.join(1)
	d.join(2)
	for name, b := range refusals(d) {
		h, err := port1.ParseHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		once := func() {
			if err := c.handle(t.Context(), h, b); err != nil {
				t.Fatal(err)
			}
			if batch, _ := c.nextBatch(); len(batch) == 0 {
				t.Fatal("no answer")
			}
		}
		once()
		if n := testing.AllocsPerRun(1000, once); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkDenial(b *testing.B) {
	d := newDesk(300, noBudget, "7 d1 d2 allow", "9 * * allow")
	c := d.join(1)
	d.join(2)
	for name, msg := range refusals(d) {
		b.Run(name, func(b *testing.B) {
			h, _ := port1.ParseHeader(msg)
			b.ReportAllocs()
			for b.Loop() {
				_ = c.handle(b.Context(), h, msg)
				c.nextBatch()
			}
		})
	}
}

// Whoever speaks, whatever it says: nothing but its own link ends, and what is kept
// for it stays within bounds.
func FuzzConversation(f *testing.F) {
	d := newDesk(2, Budgets{}, "7 * * allow")
	hello := port1.Hello{ID: 1}.Append(nil)
	f.Add(hello)
	f.Add(d.ask(1, 2, 7).Append(hello))
	f.Add(port1.ConnectAck{ID: 1}.Append(port1.PeerAck{ID: 1}.Append(hello)))
	f.Add(port1.Hello{ID: 1, Links: make([]port1.Live, 1)}.Append(hello))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := newDesk(2, Budgets{Requests: 1 << 30, Burst: 1 << 30}, "7 * * allow")
		other := d.join(2)
		c := d.open(1, &tape{in: b})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		wrote := make(chan struct{})
		go func() { defer close(wrote); c.write() }()
		c.end(c.read(ctx))
		d.mu.Lock()
		if len(d.pairs) > 1 || len(c.replies) > cap(c.replies) || c.halfOpen > 1 {
			t.Errorf("%d pairs, %d replies, %d half open", len(d.pairs), len(c.replies), c.halfOpen)
		}
		c.leave()
		if other.link.Err() != nil || c.link.Err() == nil {
			t.Errorf("links: %v, the other's: %v", c.link.Err(), other.link.Err())
		}
		if c.halfOpen != 0 || len(d.pairs) != 0 {
			t.Errorf("%d half open and %d pairs are left", c.halfOpen, len(d.pairs))
		}
		d.mu.Unlock()
		<-wrote
	})
}
