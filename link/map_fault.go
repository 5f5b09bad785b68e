package link

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
)

// errFault ends a link whose mappings are void, as they are after a restore. It is an
// end and no lie: the other side cannot bring it about, for what it grants stays mapped
// whatever it does.
var errFault = errors.New("the mapping of the other side's pages is void")

// guard runs f, which may load from what is mapped, and turns a fault there into an
// error. It does not end the link. f must leave nothing half done when it is cut off at
// a load. It does not escape, so a literal costs no allocation. Where nothing is mapped,
// f is called and that is all.
func (l *Link) guard(f func() error) (err error) {
	if l.theirs == nil {
		return f()
	}
	// Of this goroutine alone, and back to what it was: others have their own reasons.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if bug := recover(); bug != nil {
			if err = l.theirs.fault(bug); err == nil {
				panic(bug)
			}
		}
	}()
	return f()
}

// fetchEnd is ring.End.Fetch under guard. What it loads it loads before it changes
// anything. It does not end the link.
func (l *Link) fetchEnd() (news bool, err error) {
	if l.theirs == nil {
		return l.end.Fetch()
	}
	err = l.guard(func() (err error) {
		news, err = l.end.Fetch()
		return err
	})
	return news, err
}

// Fault is for whoever reads peeked bytes of a link that is Mapped, or calls its Look, Poll
// or Rest: its goroutine sets debug.SetPanicOnFault, and gives what it has recovered to
// Fault. If that is a fault of this link's mappings, the link has ended as Lost, and Fault
// returns why, an *Error. Nil says that it is another panic, which has to go on.
func (l *Link) Fault(recovered any) error {
	if l.theirs == nil {
		return nil
	}
	err := l.theirs.fault(recovered)
	if err == nil {
		return nil
	}
	return l.fail(err)
}

// fault returns errFault if a panic is about an address in what is mapped, else nil.
func (m *mapped) fault(recovered any) error {
	fault, ok := recovered.(interface {
		runtime.Error
		Addr() uintptr // debug.SetPanicOnFault documents it
	})
	if !ok || !m.contains(fault.Addr()) {
		return nil
	}
	return fmt.Errorf("%w: load from %#x", errFault, fault.Addr())
}
