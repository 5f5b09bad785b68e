package link

import (
	"errors"
	"runtime"
	"time"

	"xvsock/ring"
)

const (
	// shortSleep is a sleep after which the next wait begins by a nap.
	shortSleep = 8 * time.Millisecond
	// copyUnread and mapUnread are how many polls there are at most between two looks for
	// the events of other links, while the claim is held: to have the reader of events
	// come and go costs more than those. Both make some milliseconds.
	copyUnread, mapUnread = 64, 256
	// mapGlance is how many looks of a side that maps are the short ones, that see
	// positions alone, between two whole ones.
	mapGlance = 64
	// copyYield and mapYield are how many looks there are between two at which other
	// goroutines get their turn, where there is more than one processor. With but one, a
	// turn costs as much as many looks, and whoever could bring something is in another
	// domain; but a goroutine that never yields has the scheduler's monitor wake up
	// every few microseconds to look after it, which costs most of the processor.
	copyYield, mapYield           = 4, 16
	copyYieldAlone, mapYieldAlone = 64, 98304
)

// Hot implements mux.Transport.
func (l *Link) Hot() bool { return l.heat.hot.Load() }

// Poll implements mux.Transport. While it polls, the other side is told so and sends
// no events (wake-up rule W4: awake is 1 only while its owner looks, or is about to).
// Then it naps, as an ordinary sleeper, but in its own thread.
func (l *Link) Poll() (news bool, err error) {
	if l.Hot() && !l.heat.off && l.heat.polls.due() {
		news, err = l.poll()
		l.heat.polls.ended(news, maxPollSkips)
		if l.unread++; l.unread >= l.mostUnread() {
			err = errors.Join(err, l.gather())
		}
	}
	if news || err != nil {
		return news, err
	}
	if news, err = l.drowse(); news || err != nil {
		return news, err
	}
	if l.Hot() && l.heat.naps.due() {
		news, err = l.nap()
		l.heat.naps.ended(news, maxNapSkips)
		l.heat.hot.Store(news)
	}
	if !news {
		l.unclaim()
	}
	return news, err
}

// Rest implements mux.Transport.
func (l *Link) Rest() (news bool, err error) {
	l.unclaim()
	return l.drowse()
}

// poll looks for news until its tries are used up.
func (l *Link) poll() (news bool, err error) {
	if !l.awake {
		l.awake = true
		l.end.Awake(true)
	}
	if !l.attended.Load() {
		l.attended.Store(true)
	}
	l.waits.polls.Add(1)
	if news, err = l.spin(); err != nil {
		return false, l.fail(err)
	}
	return news, l.ended()
}

// spin is poll without what ends the link.
func (l *Link) spin() (news bool, err error) {
	tries := copyTries
	if l.theirs != nil {
		tries = mapTries
	}
	for i := 1; i <= tries; i++ {
		if l.looks++; l.looks >= l.yield {
			l.looks = 0
			runtime.Gosched()
		}
		if l.theirs != nil && i%mapGlance != 0 && !l.end.Stirred() {
			continue
		}
		if news, err = l.glance(); news || err != nil || l.over() {
			return true, err
		}
	}
	return false, nil
}

// mostUnread is how many polls there are between two looks for events.
func (l *Link) mostUnread() int {
	if l.theirs != nil {
		return mapUnread
	}
	return copyUnread
}

// yields is how many looks there are between two turns of other goroutines.
func (l *Link) yields() int {
	alone := runtime.GOMAXPROCS(0) == 1
	switch mapped := l.theirs != nil; {
	case mapped && alone:
		return mapYieldAlone
	case mapped:
		return mapYield
	case alone:
		return copyYieldAlone
	}
	return copyYield
}

// glance fetches once, and tells the other side at once if that found it waiting for
// room which is there (wake-up rule W2). A position caught half stored is no news
// to wake anybody for.
//
// That the other side has taken what was sent is no news to anybody if there was room
// all the time, or there is not as much as is wanted yet.
func (l *Link) glance() (news bool, err error) {
	if news, err = l.end.Fetch(); err != nil {
		return false, err
	}
	return news && !l.end.Unsettled() && (!l.end.Drained() || l.end.Granted()), l.end.Flush()
}

// drowse takes back that this side is awake. It sleeps only after a look that brought
// no news with awake at 0: a pair of words that was caught half written counts as
// news. A side that did not poll needs no look before it sleeps: what came after its
// last one has left an event pending.
func (l *Link) drowse() (news bool, err error) {
	if !l.awake {
		return false, nil
	}
	l.awake = false
	l.end.Awake(false)
	news, err = l.settle()
	// What others have left to the next look goes out now, if settle has not seen it.
	l.attended.Store(false)
	if err != nil {
		return false, l.fail(err)
	}
	return news, l.Flush()
}

// settleTries is how often settle looks, with pauses from 1 ms that double up to
// 64 ms, a third of a second in all: for an honest side that was stopped between
// two stores.
const settleTries = 10

// settle is the look before sleep. It must not leave a position half stored: if
// the other side saw us awake before it was done, no event follows. One that never
// settles is a lie, and would otherwise keep this side from sleeping for ever.
func (l *Link) settle() (news bool, err error) {
	for try := range settleTries {
		if news, err = l.glance(); news || err != nil || !l.end.Unsettled() {
			return news, err
		}
		time.Sleep(time.Millisecond << min(try, 6))
	}
	return false, &ring.LieError{Word: "position", Why: "stays half stored"}
}

// view is a look that ends the link if it fails.
func (l *Link) view() (news bool, err error) {
	if news, err = l.end.Fetch(); err != nil {
		return false, l.fail(err)
	}
	return news, nil
}
