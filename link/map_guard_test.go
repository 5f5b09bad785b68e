package link

import (
	"errors"
	"runtime/debug"
	"testing"
)

// mappedLoop is one end of a loop that passes for mapped.
func mappedLoop(t *testing.T) *Link {
	a, b, err := Loop(3, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(a.Close(), b.Close()); err != nil {
			t.Error(err)
		}
	})
	a.theirs = newMapped(make([]byte, 4096), make([]byte, 4096), &peerPages{})
	return a
}

func TestGuardLetsOtherPanicsGoOn(t *testing.T) {
	l, bug := mappedLoop(t), errors.New("bug")
	defer func() {
		if got := recover(); got != bug {
			t.Errorf("recovered %v, want %v", got, bug)
		}
		if debug.SetPanicOnFault(false) {
			t.Error("the goroutine's faults still panic")
		}
	}()
	_ = l.guard(func() error { panic(bug) })
	t.Error("the guard swallowed a panic")
}

func TestGuardLeavesTheGoroutineAsItWas(t *testing.T) {
	l := mappedLoop(t)
	for _, before := range []bool{false, true} {
		debug.SetPanicOnFault(before)
		err := l.guard(func() error {
			if !debug.SetPanicOnFault(true) {
				t.Error("faults do not panic under the guard")
			}
			return errors.ErrUnsupported
		})
		if err != errors.ErrUnsupported {
			t.Errorf("the guard returned %v", err)
		}
		if debug.SetPanicOnFault(false) != before {
			t.Errorf("the goroutine's setting was %v and is not any more", before)
		}
	}
}

func TestGuardedFetchAllocatesNothing(t *testing.T) {
	l := mappedLoop(t)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := l.fetchEnd(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkFetch(b *testing.B) {
	for name, maps := range map[string]bool{"unguarded": false, "guarded": true} {
		b.Run(name, func(b *testing.B) {
			l, other, err := Loop(3, Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer other.Close()
			defer l.Close()
			if maps {
				l.theirs = newMapped(make([]byte, 4096), make([]byte, 4096), &peerPages{})
			}
			for b.Loop() {
				if _, err := l.fetchEnd(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
