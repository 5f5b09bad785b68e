package payload

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
)

// errPanic is why a service ends of which a goroutine has panicked, until that is
// thrown again.
var errPanic = errors.New("panic")

// accident keeps a panic of the goroutines that do somebody's work for whoever that
// is, so that it ends no more than that work: a connection by its Acceptor, a service
// by its supervisor.
type accident struct {
	mu   sync.Mutex
	what string
}

// careful returns f with its panic kept, after which then is called.
func (a *accident) careful(f, then func()) func() {
	return func() {
		defer func() {
			if p := recover(); p != nil {
				a.keep(fmt.Sprintf("%v\n%s", p, debug.Stack()))
				then()
			}
		}()
		f()
	}
}

// keep keeps the first panic.
func (a *accident) keep(what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.what == "" {
		a.what = what
	}
}

// rethrow panics if there was a panic. The goroutines have ended.
func (a *accident) rethrow() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.what != "" {
		panic(a.what)
	}
}
