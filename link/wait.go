package link

import (
	"time"

	"xvsock/ring"
)

// Wait returns nil when there may be something new to read or room to write,
// when Wake was called, or after d (0: no limit); or why the link has ended. In
// every case the other side's header has been fetched once, so that a link which
// is waited on every second is probed every second.
//
// A side that polls says so in its header and then looks for itself, until the
// polling bound is spent (wake-up rule W4: awake is 1 only while its owner
// polls; to sleep, awake goes to 0, then one more fetch, then the ports are
// unmasked). It sleeps only after a fetch that brought no news with awake at 0: a
// pair of words that was caught half written counts as news. A side that does not
// poll needs no fetch before it sleeps: what came after its last fetch has left an
// event pending.
func (l *Link) Wait(d time.Duration) error {
	if l.poll > 0 {
		if news, err := l.pollRings(); news || err != nil {
			return err
		}
	}
	if err := l.unmask(); err != nil {
		return l.fail(err)
	}
	if err := l.await(d); err != nil {
		return err
	}
	if err := l.fetch(); err != nil {
		return err
	}
	return l.ended() // an event may have come with the end
}

// fetch looks at the other side's header once.
func (l *Link) fetch() error {
	if _, err := l.end.Fetch(); err != nil {
		return l.fail(err)
	}
	return nil
}

// pollRings looks for news without sleeping, for as long as the bound allows.
func (l *Link) pollRings() (news bool, err error) {
	l.end.Awake(true)
	for stop := time.Now().Add(l.poll); !news && err == nil && time.Now().Before(stop); {
		if news, err = l.look(); l.woken() {
			news = true
		}
	}
	l.end.Awake(false)
	if !news && err == nil {
		news, err = l.settle()
	}
	if err != nil {
		return false, l.fail(err)
	}
	return news, l.Err()
}

// look fetches once, and tells the other side at once if that found it waiting for
// room which is there (wake-up rule W2). A position caught half stored is no news
// to wake anybody for.
func (l *Link) look() (news bool, err error) {
	if news, err = l.end.Fetch(); err != nil {
		return false, err
	}
	return news && !l.end.Unsettled(), l.end.Flush()
}

// settleTries is how often settle looks, with pauses from 1 ms that double up to
// 64 ms, a third of a second in all: for an honest side that was stopped between
// two stores.
const settleTries = 10

// settle is the fetch before sleep. It must not leave a position half stored: if
// the other side saw us awake before it was done, no event follows. One that never
// settles is a lie, and would otherwise keep this side from sleeping for ever.
func (l *Link) settle() (news bool, err error) {
	for try := range settleTries {
		if news, err = l.look(); news || err != nil || !l.end.Unsettled() {
			return news, err
		}
		time.Sleep(time.Millisecond << min(try, 6))
	}
	return false, &ring.LieError{Word: "position", Why: "stays half stored"}
}

// woken reports whether Wake was called or the link has ended.
func (l *Link) woken() bool {
	select {
	case <-l.wake:
		return true
	case <-l.done:
		return true
	default:
		return false
	}
}

// unmask lets the next event of either channel through. The work for the last
// ones is done by now (rule R15).
func (l *Link) unmask() error {
	if err := l.rx.Unmask(); err != nil {
		return err
	}
	return l.tx.Unmask()
}

// await sleeps until an event, Wake, the end of the link, or d.
func (l *Link) await(d time.Duration) error {
	var expired <-chan time.Time
	if d > 0 {
		l.timer.Reset(d)
		defer l.timer.Stop()
		expired = l.timer.C
	}
	l.sleep.Add(1)
	select {
	case <-l.rx.Event():
	case <-l.tx.Event():
	case <-l.wake:
	case <-expired:
	case <-l.done:
		return l.Err()
	}
	return nil
}
