package link

import (
	"slices"
	"testing"
	"time"
)

func TestWhatDoesNotPayIsTriedLessAndLess(t *testing.T) {
	for _, c := range []struct {
		name string
		most int
		well []int // the attempts that bring something, from 1
		want []int // the waits at which there is an attempt, from 1
	}{
		{"nothing ever comes", 7, nil, []int{1, 3, 7, 15, 23, 31}},
		{"and the bound is small", 1, nil, []int{1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31}},
		{"something comes at the third attempt", 7, []int{3}, []int{1, 3, 7, 8, 10, 14, 22, 30}},
		{"something always comes", 7, []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31},
			[]int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b backoff
			var got []int
			for wait := 1; wait <= 31; wait++ {
				if b.due() {
					got = append(got, wait)
					b.ended(slices.Contains(c.well, len(got)), c.most)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("attempts at waits %v, want %v", got, c.want)
			}
		})
	}
}

func TestALinkIsHotAfterAShortSleep(t *testing.T) {
	var h heat
	h.slept(false)
	if h.hot.Load() {
		t.Error("hot after a long sleep")
	}
	h.slept(true)
	h.slept(false)
	if !h.hot.Load() {
		t.Error("cold after a short sleep")
	}
}

func TestALoopDoesNotPoll(t *testing.T) {
	for _, off := range []bool{false, true} {
		a, b, err := Loop(1, Options{NoPoll: off})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range []*Link{a, b} {
			l.heat.hot.Store(true)
			if news, err := l.Poll(); news || err != nil {
				t.Errorf("Poll: %v, %v", news, err)
			}
			if l.Counts().Polls > 0 {
				t.Errorf("NoPoll is %v, and it has polled", off)
			}
			if l.Hot() {
				t.Error("a link on which nothing came is hot")
			}
		}
		for _, l := range []*Link{a, b} {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// A nap in vain makes a link cold, and it is the next short sleep that makes it hot again.
func TestASleepIsShortIfAnEventEndsItSoon(t *testing.T) {
	a, b, err := Loop(1, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	defer a.Close()
	a.Wake()
	if err := a.Sleep(time.Hour); err != nil || a.Hot() {
		t.Errorf("a Wake has made the link hot, or %v", err)
	}
	if x, _ := b.Reserve(8); len(x) != 8 || b.Commit(8) != nil || b.Flush() != nil {
		t.Fatal("no room")
	}
	if err := a.Sleep(time.Hour); err != nil || !a.Hot() {
		t.Errorf("an event at once has not made the link hot, or %v", err)
	}
}
