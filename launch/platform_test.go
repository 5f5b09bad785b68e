package launch

import (
	"errors"
	"log/slog"
	"os"
	"slices"
	"testing"

	"xvsock/evtchn"
	"xvsock/link"
	"xvsock/xen"
)

// keepsNothing is a keeper and a device: it notes what is done to it.
type keepsNothing struct {
	evtchn.Device
	calls []string
}

func (k *keepsNothing) Dup() (*os.File, error)      { return nil, errors.ErrUnsupported }
func (k *keepsNothing) Keep(evtchn.Abandoned) error { k.calls = append(k.calls, "keep"); return nil }
func (k *keepsNothing) Check() error                { k.calls = append(k.calls, "check"); return nil }
func (k *keepsNothing) Close() error {
	k.calls = append(k.calls, "close")
	return errors.New("not closed")
}

func TestOnlyPID1HasNoKeeper(t *testing.T) {
	d := link.NewDomain(3, nil, nil, nil)
	k := &keepsNothing{}
	log := slog.New(slog.DiscardHandler)
	if cfg := eventsConfig(d, nil, 1, k, log); cfg.Keep != nil {
		t.Error("PID 1 has one")
	}
	cfg := eventsConfig(d, nil, 4711, k, log)
	if cfg.Keep == nil {
		t.Fatal("another process has none")
	}
	if err := cfg.Keep(k); err != nil || !slices.Equal(k.calls, []string{"keep"}) {
		t.Errorf("Keep: %v, %q", err, k.calls)
	}
	if err := cfg.Keep(struct{ evtchn.Device }{}); err == nil {
		t.Error("a device without a descriptor is kept")
	}
}

// A keeper that was killed is replaced while there is still somebody who has the files,
// which may be those that the closing has abandoned.
func TestTheKeeperIsLookedAtAfterTheEventsAreClosed(t *testing.T) {
	k := &keepsNothing{}
	if err := closing(k, k)(); err == nil || !slices.Equal(k.calls, []string{"close", "check"}) {
		t.Errorf("%v, %q", err, k.calls)
	}
}

func TestEveryDomainButDom0MayBeSuspended(t *testing.T) {
	for id, want := range map[xen.DomID]bool{0: false, 1: true, 77: true} {
		if got := suspends(link.NewDomain(id, nil, nil, nil)); got != want {
			t.Errorf("domain %v: %v", id, got)
		}
	}
}
