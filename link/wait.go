package link

import "time"

// Look implements mux.Transport: it fetches the other side's header once. After a
// Sleep that nothing has ended it asks the hypervisor for the other domain where the
// fetch does not.
func (l *Link) Look() error {
	if err := l.gather(); err != nil {
		return err
	}
	if l.quiet.Swap(false) {
		if err := l.probe(); err != nil {
			return l.fail(err)
		}
	}
	if _, err := l.view(); err != nil {
		return err
	}
	return l.ended()
}

// Sleep implements mux.Transport. It touches no ring.
func (l *Link) Sleep(d time.Duration) error {
	if l.claimed.Load() {
		_, err := l.await(d, nil, nil)
		return err
	}
	if err := l.unmask(); err != nil {
		return l.fail(err)
	}
	if l.Hot() {
		_, err := l.await(d, l.rx.Event(), l.tx.Event())
		return err // and spares the clock, which may be a system call
	}
	began := time.Now()
	event, err := l.await(d, l.rx.Event(), l.tx.Event())
	if err == nil && event {
		l.heat.slept(time.Since(began) < shortSleep)
	}
	return err
}

// over reports whether the link has ended. A Wake is the sleeper's alone: it finds who
// looks on duty, and is called again by it.
func (l *Link) over() bool { return l.down.Load() }

// unmask lets the next event of either channel through. The work for the last
// ones is done by now (rule R15).
func (l *Link) unmask() error {
	if err := l.rx.Unmask(); err != nil {
		return err
	}
	return l.tx.Unmask()
}

// await sleeps until an event of rx or tx, Wake, the end of the link, or d.
func (l *Link) await(d time.Duration, rx, tx <-chan struct{}) (event bool, err error) {
	var expired <-chan time.Time
	if d > 0 {
		l.timer.Reset(d)
		defer l.timer.Stop()
		expired = l.timer.C
	}
	l.waits.sleeps.Add(1)
	select {
	case <-rx:
		return true, nil
	case <-tx:
		return true, nil
	case <-l.wake:
	case <-expired:
		l.quiet.Store(true)
	case <-l.done:
		return false, l.Err()
	}
	return false, nil
}
