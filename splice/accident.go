package splice

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
)

// ErrPanic is why work ends of which a goroutine has panicked, until that is thrown
// again.
var ErrPanic = errors.New("panic")

// Accident keeps a panic of the goroutines that do somebody's work for whoever that
// is, so that it ends no more than that work: a connection by its Acceptor, a service
// by its supervisor.
type Accident struct {
	mu   sync.Mutex
	what string
}

// Careful returns f with its panic kept, after which then is called.
func (a *Accident) Careful(f, then func()) func() {
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
func (a *Accident) keep(what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.what == "" {
		a.what = what
	}
}

// Rethrow panics if there was a panic. The goroutines have ended.
func (a *Accident) Rethrow() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.what != "" {
		panic(a.what)
	}
}
