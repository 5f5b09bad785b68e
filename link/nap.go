package link

import (
	"runtime"
	"time"

	"xvsock/evtchn"
)

const (
	// napTime is how long a nap is: a few milliseconds, for which other goroutines on
	// this processor wait, and the garbage collector may.
	napTime = 4 * time.Millisecond
	// claimTime is how long the reader of events is given to leave, a few times.
	claimTime = 150 * time.Microsecond
	// claimTries is how often.
	claimTries = 4
)

// nap waits a short time for an event in the caller's own thread, where the Binder
// lets it. The ports are let through after the work that their last events asked for
// (rule R15), which is when the other side has been told of our answer already.
func (l *Link) nap() (news bool, err error) {
	if !l.claims() {
		return false, nil
	}
	for range claimTries {
		// An event that came after the last look is among these: look again.
		if err := l.collect(); err != nil {
			return false, l.fail(err)
		}
		runtime.Gosched() // others first, for whom events have come too: the nap keeps the processor
		if news, err = l.view(); news || err != nil {
			return news, err
		}
		if err := l.unmask(); err != nil {
			return false, l.fail(err)
		}
		l.waits.naps.Add(1)
		event, err := l.claim.Nap(napTime)
		if err != nil {
			return false, l.fail(err)
		}
		if !event {
			return false, nil
		}
		if news, err = l.view(); news || err != nil || l.over() {
			return true, err
		}
	}
	return false, nil
}

// collect takes the events that have come.
func (l *Link) collect() error {
	l.unread = 0
	if err := l.claim.Collect(); err != nil {
		return err
	}
	for _, c := range [...]evtchn.Channel{l.rx, l.tx} {
		select {
		case <-c.Event():
		default:
		}
	}
	return nil
}

// gather takes the events that have come without waiting for one: they may be of other
// links, for which this one has the reader stay away.
func (l *Link) gather() error {
	if l.claim == nil {
		return nil
	}
	if _, err := l.claim.Nap(0); err != nil {
		return l.fail(err)
	}
	if err := l.collect(); err != nil {
		return l.fail(err)
	}
	return nil
}

// claims has the reader of events leave, if it can, and says whether it has.
func (l *Link) claims() bool {
	if l.claim == nil {
		if l.claim = l.holds.claim(); l.claim == nil {
			return false
		}
		l.claimed.Store(true)
	}
	for range claimTries {
		if l.claim.Ready(claimTime) {
			return true
		}
	}
	return false
}

// unclaim has it come back, if it left.
func (l *Link) unclaim() {
	if l.claim == nil {
		return
	}
	l.claim.Release()
	l.claim = nil
	l.claimed.Store(false)
	l.Wake() // who sleeps did not wait for events
}
