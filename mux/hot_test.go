package mux

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"testing/synctest"
	"time"

	"xvsock/mux/muxtest"
)

// hotLooks names the environment variable that has the suites run over ends that are
// hot: how often a Poll of theirs looks. Unset, no end is hot and the pump does all.
const hotLooks = "XVSOCK_MUX_TEST_LOOKS"

// heated returns what a session of a test is to use of e: e, or a hotEnd.
func heated(e *muxtest.End) Transport {
	looks, _ := strconv.Atoi(os.Getenv(hotLooks))
	if looks == 0 {
		return e
	}
	h := &hotEnd{End: e, looks: looks}
	if bubbled() {
		h.made = debug.Stack()
		h.late = time.AfterFunc(time.Hour, h.forgotten)
		h.late.Stop()
	}
	return h
}

// bubbled says whether this is a bubble: its time begins in the year 2000, and in no
// test does it come as far as to ours.
func bubbled() bool { return time.Now().Year() < 2020 }

// hotEnd is an End that is hot and no better than Transport says. While it is awake,
// from a Poll until the Rest, or the Poll in vain, that ends the row, no event wakes
// its Sleep, as the other side sends none, and Flush is left to the next look.
//
// A Poll yields and never sleeps, so that a bubble's Wait waits for its end.
type hotEnd struct {
	*muxtest.End
	looks    int
	awake    atomic.Bool
	attended atomic.Bool // awake, and for one more look
	called   atomic.Bool // Wake was called, and Sleep has not returned for it
	late     *time.Timer // nil: this is no bubble
	made     []byte      // where, if it is one
}

// lookAgain is how soon a look has to follow a Poll with news, in the time of a bubble:
// more than a pump is courteous for.
const lookAgain = 20 * time.Millisecond

func (h *hotEnd) forgotten() {
	if h.Err() == nil {
		panic(fmt.Sprintf("nobody has looked again after a Poll with news; the end is from\n%s", h.made))
	}
}

func (h *hotEnd) Hot() bool { return true }

func (h *hotEnd) Poll() (news bool, err error) {
	h.awake.Store(true)
	h.attended.Store(true)
	for range h.looks {
		if news, err = h.glance(); news || err != nil {
			h.expect()
			return news, err
		}
		runtime.Gosched()
	}
	return h.Rest()
}

func (h *hotEnd) Rest() (news bool, err error) {
	if !h.awake.Load() {
		return false, h.Err()
	}
	h.awake.Store(false)
	if h.late != nil {
		h.late.Stop()
	}
	news, err = h.glance()
	h.attended.Store(false)
	_ = h.End.Flush() // what came between the two lines above
	return news, err
}

func (h *hotEnd) Look() error {
	if h.awake.Load() {
		h.expect()
	}
	err := h.End.Look()
	_ = h.End.Flush()
	return err
}

func (h *hotEnd) Flush() error {
	if h.attended.Load() {
		return nil
	}
	return h.End.Flush()
}

func (h *hotEnd) Wake() {
	h.called.Store(true)
	h.End.Wake()
}

func (h *hotEnd) Sleep(d time.Duration) error {
	for end := time.Now().Add(d); ; {
		err := h.End.Sleep(d)
		if called := h.called.Swap(false); called || err != nil || !h.awake.Load() {
			return err
		}
		if d == 0 {
			continue
		}
		if d = time.Until(end); d <= 0 {
			return nil
		}
	}
}

// expect begins the time in which another look has to follow.
func (h *hotEnd) expect() {
	if h.late != nil {
		h.late.Reset(lookAgain)
	}
}

// glance is one look of a Poll: muxtest's Rest is that, and no more.
func (h *hotEnd) glance() (news bool, err error) {
	news, err = h.End.Rest()
	_ = h.End.Flush()
	return news, err
}

// settle waits until nothing happens any more in this bubble. A pump that was called
// lets others come first, which takes time, and is waited for.
func settle(sessions ...*Session) {
	synctest.Wait()
	for _, s := range sessions {
		for s != nil && s.duty.called.Load() && !hasEnded(s) {
			time.Sleep(courtesy)
			synctest.Wait()
		}
	}
}

// hasEnded says whether the session has ended.
func hasEnded(s *Session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended != nil
}
