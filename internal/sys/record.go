package sys

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// Record remembers which descriptors and mappings are held and who made them.
// The zero Record is ready for use, and a nil *Record records nothing and costs
// nothing: programs pass nil, tests pass one and look at Held when they are
// done.
type Record struct {
	mu   sync.Mutex
	last uint64
	held map[*entry]struct{}
}

// Held is one descriptor or mapping that was not given back.
type Held struct {
	// What names it, for example "fd 7 /dev/xen/evtchn".
	What string
	// Kept says that it is held on purpose and for ever: its FD was abandoned.
	Kept bool
	// Stack is where it was made, one call a line.
	Stack string
}

// String returns all that is known about h, for a test's failure message.
func (h Held) String() string {
	kept := ""
	if h.Kept {
		kept = " (kept on purpose)"
	}
	return fmt.Sprintf("%s%s, made at\n%s", h.What, kept, h.Stack)
}

// Held returns what is held now, oldest first.
func (r *Record) Held() []Held {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	entries := make([]*entry, 0, len(r.held))
	for e := range r.held {
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b *entry) int { return cmp.Compare(a.serial, b.serial) })
	held := make([]Held, len(entries))
	for i, e := range entries {
		held[i] = Held{What: e.what, Kept: e.kept, Stack: stackText(e.callers)}
	}
	return held
}

// entry is one line of a Record. A nil *entry belongs to no Record.
type entry struct {
	record  *Record
	serial  uint64
	what    string
	callers []uintptr
	kept    bool // guarded by record.mu
}

// add records what, made by the caller of add's caller.
func (r *Record) add(what string) *entry {
	if r == nil {
		return nil
	}
	var callers [32]uintptr
	n := runtime.Callers(3, callers[:])
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	e := &entry{record: r, serial: r.last, what: what, callers: slices.Clone(callers[:n])}
	if r.held == nil {
		r.held = make(map[*entry]struct{})
	}
	r.held[e] = struct{}{}
	return e
}

// drop says that the thing was given back.
func (e *entry) drop() {
	if e == nil {
		return
	}
	e.record.mu.Lock()
	defer e.record.mu.Unlock()
	delete(e.record.held, e)
}

// keep says that the thing will never be given back, on purpose.
func (e *entry) keep() {
	if e == nil {
		return
	}
	e.record.mu.Lock()
	defer e.record.mu.Unlock()
	e.kept = true
}

func stackText(callers []uintptr) string {
	if len(callers) == 0 {
		return ""
	}
	var text strings.Builder
	frames := runtime.CallersFrames(callers)
	for {
		frame, more := frames.Next()
		fmt.Fprintf(&text, "\t%s %s:%d\n", frame.Function, frame.File, frame.Line)
		if !more {
			return text.String()
		}
	}
}
