package client_test

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"xvsock/link"
	"xvsock/sim"
)

// After a resume nothing is known of other domains, and no link is left; what the
// manager tells then counts as if it had never told anything.
func TestAResumeLosesEverythingAndTheNextConversationBeginsAnew(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		w := newTwo(t, h)
		c := w.x.dial(w.y.id(), 7).made()
		works(t, c)
		w.sx.die()
		w.x.client.Lose()
		lost(t, c)
		w.x.holds(0, 0)
		if peers := w.x.client.Peers(); len(peers) != 0 {
			t.Errorf("it still knows of %v", peers)
		}
		w.x.dial(w.y.id(), 7).fails(syscall.EHOSTUNREACH)
		w.sy.die()
		time.Sleep(time.Second)
		sx, sy := w.x.join(), w.y.join()
		if len(sx.hello.Links) != 0 {
			t.Errorf("HELLO tells of %+v", sx.hello.Links)
		}
		sx.tell(record(w.y.id(), ports(7, 9), ports(7, 9)))
		sx.complete()
		sy.complete()
		if len(w.x.client.Peers()) != 1 {
			t.Error("the new conversation's records are not kept")
		}
	})
}

func TestADialThatAResumeMeetsFails(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		w := newTwo(t, h)
		w.sx.die()
		d := w.x.dial(w.y.id(), 7)
		time.Sleep(time.Second)
		w.x.client.Lose()
		d.fails(syscall.EHOSTUNREACH)
		w.x.holds(0, 0)
	})
}

// Who was told to stop stays stopped.
func TestLoseAfterCloseDoesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		w := newTwo(t, h)
		w.sx.die()
		w.x.stop()
		w.x.client.Lose()
		if err := w.x.client.Connect(t.Context(), w.y.id(), 7); err == nil || errors.Is(err, link.ErrResumed) {
			t.Errorf("Connect: %v", err)
		}
	})
}
