package link

import (
	"runtime/debug"
	"time"
)

// Heat has the next wait of a link begin as if the last ones had been short.
func Heat(l *Link) {
	l.heat.hot.Store(true)
	l.heat.polls, l.heat.naps = backoff{}, backoff{}
}

// Wait waits as package mux does: it polls if that pays, else it sleeps and looks.
func (l *Link) Wait(d time.Duration) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if bug := recover(); bug != nil {
			if err = l.Fault(bug); err == nil {
				panic(bug)
			}
		}
	}()
	if l.Hot() {
		if news, err := l.Poll(); news || err != nil {
			return err
		}
	}
	if err := l.Sleep(d); err != nil {
		return err
	}
	return l.Look()
}
