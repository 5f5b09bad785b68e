package manager

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/link"
	"xvsock/manager/port1"
	"xvsock/mux"
	"xvsock/vsock"
	"xvsock/xen"
)

// heard lists the messages that a frontend gets next: "PEER 2 gone", "IND 2", "RSP ok".
func (c *conversation) heard(t *testing.T) string {
	t.Helper()
	var all []string
	for {
		batch, _ := c.nextBatch()
		if len(batch) == 0 {
			return strings.Join(all, ", ")
		}
		for len(batch) > 0 {
			h, err := port1.ParseHeader(batch)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, describe(t, h.Type, batch[:h.Length]))
			batch = batch[h.Length:]
		}
	}
}

func describe(t *testing.T, what port1.Type, msg []byte) string {
	var text string
	var err error
	switch what {
	case port1.TypePeer:
		var m port1.Peer
		m, err = port1.ParsePeer(msg)
		text = fmt.Sprint("PEER ", m.Domain)
		if m.Gone {
			text += " gone"
		}
	case port1.TypeHello:
		text = "HELLO"
	case port1.TypeConnectInd:
		var m port1.ConnectInd
		m, err = port1.ParseConnectInd(msg)
		text = fmt.Sprint("IND ", m.Domain)
	case port1.TypeConnectRsp:
		var m port1.ConnectRsp
		m, err = port1.ParseConnectRsp(msg)
		text = fmt.Sprint("RSP ", m.Result)
	}
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// hears checks what a frontend gets next.
func (c *conversation) hears(t *testing.T, want string) {
	t.Helper()
	if got := c.heard(t); got != want {
		t.Errorf("frontend %v gets %q, want %q", c.f.id, got, want)
	}
}

// two is a desk with two frontends that have heard all there is.
func two(t *testing.T) (d *desk, a, b *conversation) {
	d = newDesk(2, Budgets{}, "7 * * allow")
	a, b = d.join(1), d.join(2)
	a.hears(t, "PEER 2, HELLO")
	b.hears(t, "PEER 1, HELLO")
	return d, a, b
}

func (c *conversation) must(t *testing.T, m interface{ Append([]byte) []byte }) {
	t.Helper()
	if err := c.hear(m); err != nil {
		t.Fatal(err)
	}
}

// pending is the only request that there is.
func (d *desk) pending(t *testing.T) *request {
	t.Helper()
	for _, r := range d.pairs {
		return r
	}
	t.Fatal("no request is pending")
	return nil
}

func TestPolicyThatChangesBetweenRequestAndInd(t *testing.T) {
	d, a, b := two(t)
	a.must(t, d.ask(1, 2, 7))
	d.rule("7 d2 d1 allow")
	b.hears(t, "PEER 1")
	a.hears(t, "PEER 2, RSP unreachable")
	d.rule("8 d1 d2 allow")
	a.must(t, d.ask(1, 2, 8))
	d.rule("7 d1 d2 allow")
	b.hears(t, "PEER 1")
	a.hears(t, "PEER 2, RSP denied")
	if len(d.pairs) != 0 {
		t.Error("the pair is not quiet")
	}
}

func TestPolicyThatChangesBetweenIndAndAck(t *testing.T) {
	d, a, b := two(t)
	a.must(t, d.ask(5, 2, 7))
	b.hears(t, "IND 1")
	d.rule()
	b.must(t, port1.ConnectAck{ID: d.pending(t).id, Terms: port1.Terms{Generation: 5}})
	if len(a.f.claims)+len(b.f.claims) != 0 {
		t.Error("the link counts")
	}
	// Even if it is allowed again when the answer goes out.
	d.rule("7 * * allow")
	a.hears(t, "RSP unreachable")
	b.hears(t, "")
}

func TestPolicyThatChangesBetweenAckAndRsp(t *testing.T) {
	d, a, b := two(t)
	a.must(t, d.ask(5, 2, 7))
	b.hears(t, "IND 1")
	b.must(t, port1.ConnectAck{ID: d.pending(t).id, Terms: port1.Terms{Generation: 5}})
	d.rule()
	a.hears(t, "PEER 2 gone, RSP unreachable")
	b.hears(t, "PEER 1 gone")
	if len(a.f.claims) != 0 {
		t.Error("the link counts")
	}
}

func TestAnAttachmentThatChangesBetweenAckAndRsp(t *testing.T) {
	d, a, b := two(t)
	a.must(t, d.ask(5, 2, 7))
	b.hears(t, "IND 1")
	b.must(t, port1.ConnectAck{ID: d.pending(t).id, Terms: port1.Terms{Generation: 5}})
	d.attach(2, "d2")
	a.hears(t, "PEER 2, RSP unreachable")
}

// What goes by a PEER comes after it, also when the PEERs take several batches.
func TestPeersAreToldFirst(t *testing.T) {
	const n = 100
	d := newDesk(n, Budgets{}, "7 * * allow")
	a, b := d.join(1), d.join(2)
	a.must(t, d.ask(1, 2, 7))
	b.must(t, d.ask(1, 1, 7)) // crosses
	b.must(t, d.ask(2, 3, 8)) // is denied
	got := strings.Split(b.heard(t), ", ")
	if want := "HELLO, IND 1, RSP crossed, RSP denied"; strings.Join(got[n-1:], ", ") != want {
		t.Errorf("after %d messages: %q, want %q", n-1, got[n-1:], want)
	}
	for _, m := range got[:n-1] {
		if !strings.HasPrefix(m, "PEER") {
			t.Errorf("%s before all PEERs", m)
		}
	}
}

// A frontend that was to cross with a request which is no more has nothing to wait
// for.
func TestCrossedIsNotSaidWithoutWhatIsCrossed(t *testing.T) {
	d, a, b := two(t)
	a.must(t, d.ask(1, 2, 7))
	b.must(t, d.ask(1, 1, 7))
	r := d.pending(t)
	d.mu.Lock()
	a.leave()
	d.mu.Unlock()
	b.hears(t, "RSP refused")
	if r.timer.Stop() || len(a.replies) != 0 {
		t.Error("something is left of a request that has ended")
	}
}

// Who owes many answers is asked no more, rather than that an answer is forgotten
// and then taken for forged.
func TestAResponderThatOwesAnswersIsNotAskedForMore(t *testing.T) {
	d := newDesk(maxUnanswered+3, Budgets{}, "7 * * allow")
	b := d.join(1)
	b.heard(t)
	var others []*conversation
	for id := range xen.DomID(maxUnanswered + 2) {
		c := d.join(id + 2)
		c.heard(t)
		c.must(t, d.ask(1, 1, 7))
		others = append(others, c)
	}
	if n := strings.Count(b.heard(t), "IND"); n != maxUnanswered {
		t.Errorf("it is asked %d times", n)
	}
	// It asks one that it does not know to ask it, too.
	last := others[maxUnanswered+1]
	b.must(t, d.ask(1, last.f.id, 7))
	b.hears(t, "RSP refused")
	d.mu.Lock()
	var ids []uint64
	for id, r := range b.unanswered {
		d.finish(r, port1.TimedOut, port1.Terms{})
		ids = append(ids, id)
	}
	d.mu.Unlock()
	b.hears(t, "")
	for len(b.work) > 0 {
		<-b.work
	}
	b.must(t, port1.ConnectAck{ID: ids[0], Result: port1.Refused})
	if len(b.work) == 0 {
		t.Error("the writer is not told that there is room")
	}
	b.must(t, port1.ConnectAck{ID: ids[1], Result: port1.Refused})
	b.hears(t, fmt.Sprintf("IND %v, IND %v", others[maxUnanswered].f.id, last.f.id))
	for _, id := range ids[2:] {
		b.must(t, port1.ConnectAck{ID: id, Result: port1.Refused})
	}
	if n := b.f.late.Load(); n != maxUnanswered {
		t.Errorf("%d answers were late", n)
	}
}

// Changes that come quicker than they are read are one PEER, or none.
func TestChangesAreTakenTogether(t *testing.T) {
	d, a, _ := two(t)
	for port := range 100 {
		d.rule(fmt.Sprintf("%d * * allow", 100+port))
	}
	a.hears(t, "PEER 2")
	d.rule()
	d.rule("199 * * allow")
	a.hears(t, "")
	d.rule()
	a.hears(t, "PEER 2 gone")
}

// A PEER has its own time to be confirmed in.
func TestEachPeerHasItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(2, Budgets{}, "7 * * allow")
		a := d.join(1)
		ids := func() (ids []uint64) {
			for id := range a.unacked {
				ids = append(ids, id)
			}
			return ids
		}
		a.hears(t, "PEER 2, HELLO")
		first := ids()
		time.Sleep(3 * time.Second)
		d.rule("8 * * allow")
		a.hears(t, "PEER 2")
		time.Sleep(time.Second)
		a.must(t, port1.PeerAck{ID: first[0]})
		time.Sleep(3999 * time.Millisecond)
		if a.link.Err() != nil {
			t.Errorf("the link ended early: %v", a.link.Err())
		}
		time.Sleep(2 * time.Millisecond)
		if !errors.Is(a.link.Err(), errUnconfirmed) || link.CauseOf(a.link.Err()) != link.Lost {
			t.Errorf("the link: %v", a.link.Err())
		}
	})
}

func TestUnconfirmedPeersAreBounded(t *testing.T) {
	d, a, _ := two(t)
	for i := 0; a.link.Err() == nil && i < 5000; i++ {
		d.rule(fmt.Sprintf("%d * * allow", 100+i))
		a.heard(t)
	}
	if n := len(a.unacked); n > maxUnacked+100 || !errors.Is(a.link.Err(), errUnconfirmed) {
		t.Errorf("%d are not confirmed; the link: %v", n, a.link.Err())
	}
}

// Rule R7: a frontend's reader waits for its writer.
func TestAReaderWaitsForItsWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(3, Budgets{})
		in := port1.Hello{ID: 1}.Append(nil)
		for i := range 100 {
			in = d.ask(uint64(i), 2, 7).Append(in)
		}
		c := d.open(1, &tape{in: in})
		ctx, cancel := context.WithCancel(t.Context())
		read := make(chan error)
		go func() { read <- c.read(ctx) }()
		synctest.Wait()
		if n := len(c.replies); n != maxReplies {
			t.Errorf("%d replies wait", n)
		}
		c.nextBatch()
		c.room <- struct{}{}
		synctest.Wait()
		if n := len(c.replies); n != maxReplies {
			t.Errorf("%d replies wait after some were sent", n)
		}
		cancel()
		if err := <-read; !errors.Is(err, errEnded) {
			t.Error(err)
		}
	})
}

// stuck is a connection that takes nothing.
type stuck struct{ tape }

var errStuck = errors.New("stuck")

func (*stuck) Write([]byte) (int, error) { return 0, errStuck }

func TestAWriteThatFailsEndsTheLink(t *testing.T) {
	d := newDesk(1, Budgets{})
	c := d.open(1, &stuck{})
	c.must(t, port1.Hello{ID: 1})
	c.write()
	if !errors.Is(c.link.Err(), errStuck) || link.CauseOf(c.link.Err()) != link.Lost {
		t.Errorf("the link: %v", c.link.Err())
	}
}

// From the moment that it is detached, a frontend has no rights.
func TestADetachedFrontendHasNoRights(t *testing.T) {
	d, a, b := two(t)
	a.must(t, d.ask(5, 2, 7))
	b.hears(t, "IND 1")
	d.frontends[1].detach = func(error) {}
	asked := d.pending(t).id
	d.dropOthers(map[xen.DomID]bool{2: true})
	b.hears(t, "PEER 1 gone")
	b.must(t, port1.ConnectAck{ID: asked, Terms: port1.Terms{Generation: 5}})
	a.hears(t, "")
	if len(d.pairs) != 0 || b.f.late.Load() != 1 || a.hear(d.ask(6, 2, 7)) == nil {
		t.Errorf("it takes part in %v still", d.pairs)
	}
	if _, reason := d.Admit(overFront(a, 2)); d.Allowed(1, 0, 2) || reason != mux.ReasonUnreachable {
		t.Errorf("it may use the directory: %v", reason)
	}
}

// overFront is a connection of a frontend's to a port of the backend.
func overFront(c *conversation, port uint32) vsock.Request {
	return vsock.Request{
		Peer: c.f.id, Serial: c.link.Serial(), Kind: vsock.ToFrontend, Incoming: true, Local: port, Remote: 5000,
	}
}

// Rule R14: what comes over another link than the frontend's own is nobody's.
func TestConnectionsAreAdmittedOverTheFrontLinkAlone(t *testing.T) {
	d, a, _ := two(t)
	d.rule("7 * @backend allow")
	for name, c := range map[string]struct {
		change func(*vsock.Request)
		want   mux.Reason
	}{
		"over its front link":      {func(*vsock.Request) {}, mux.ReasonNone},
		"over the link before":     {func(r *vsock.Request) { r.Serial-- }, mux.ReasonUnreachable},
		"over no front link":       {func(r *vsock.Request) { r.Kind = vsock.ToPeer }, mux.ReasonUnreachable},
		"of a domain not attached": {func(r *vsock.Request) { r.Peer = 99 }, mux.ReasonUnreachable},
	} {
		for _, port := range []uint32{2, 7} {
			r := overFront(a, port)
			c.change(&r)
			if _, got := d.Admit(r); got != c.want {
				t.Errorf("%s, port %d: %v, want %v", name, port, got, c.want)
			}
			want := c.want
			if want != mux.ReasonNone {
				want = mux.ReasonRevoked
			}
			if _, got := d.Review(r, nil); got != want {
				t.Errorf("%s, port %d at a review: %v, want %v", name, port, got, want)
			}
		}
	}
}

func TestASilentFrontendIsToldNothing(t *testing.T) {
	d, _, b := two(t)
	d.mu.Lock()
	b.leave()
	d.mu.Unlock()
	b = d.open(2, &tape{})
	d.rule("8 * * allow")
	b.hears(t, "")
}

// With its link a conversation is over, whatever its goroutines are busy with: the
// one on the next link is no second one.
func TestAConversationEndsWithItsLink(t *testing.T) {
	d, a, b := two(t)
	a.must(t, d.ask(1, 2, 7))
	b.hears(t, "IND 1")
	b.f.setLink(nil, 0)
	if b.f.talk != nil || !b.left {
		t.Error("the conversation goes on")
	}
	a.hears(t, "RSP shutting down")
	if err := b.hear(d.ask(1, 1, 7)); !errors.Is(err, errEnded) || errors.Is(err, errForged) {
		t.Errorf("a request that it had read already: %v", err)
	}
}
