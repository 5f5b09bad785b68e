package journal_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"xvsock/services/journal"
)

func TestNextWaitsForAChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := journal.New[string](4, 10)
		got := make(chan []string)
		for range 3 {
			go func() {
				c, r, err := l.Next(t.Context(), 10, 8)
				if r != 11 || err != nil {
					t.Errorf("Next = revision %d, %v; want 11", r, err)
				}
				got <- c
			}()
		}
		synctest.Wait()
		l.Append("a")
		for range 3 {
			if c := <-got; !slices.Equal(c, []string{"a"}) {
				t.Errorf("Next = %q; want one change", c)
			}
		}
	})
}

func TestNextEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := journal.New[string](4, 0)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			_, _, err := l.Next(ctx, 0, 8)
			ended <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Next = %v; want Canceled", err)
		}
	})
}

func TestResetCompactsEveryWatcher(t *testing.T) {
	l := journal.New[int](4, 100)
	now := l.Append(1)
	l.Reset()
	for _, after := range []uint64{100, now} {
		if _, _, err := l.Next(t.Context(), after, 1); !errors.Is(err, journal.ErrCompacted) {
			t.Errorf("Next after %d = %v; want ErrCompacted", after, err)
		}
	}
	l.Append(2)
	if c, _, err := l.Next(t.Context(), now+1, 1); err != nil || !slices.Equal(c, []int{2}) {
		t.Errorf("Next after the reset = %v, %v; want 2", c, err)
	}
}

func TestRandomStartLeavesRoomForWholeNumbers(t *testing.T) {
	a, b := journal.RandomStart(), journal.RandomStart()
	if a == b || a >= 1<<52+2 || a == 0 {
		t.Errorf("RandomStart = %d, %d", a, b)
	}
}

// The journal is compared with the list of all changes ever made.
func TestJournalAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 5).Draw(t, "size")
		start := rapid.Uint64Range(0, 9).Draw(t, "start")
		l := journal.New[uint64](size, start)
		newest, forgotten := start, start
		done, cancel := context.WithCancel(context.Background())
		cancel()
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				if newest++; l.Append(newest) != newest {
					t.Fatalf("revision is not %d", newest)
				}
			},
			"reset": func(t *rapid.T) {
				l.Reset()
				newest++
				forgotten = newest
			},
			"next": func(t *rapid.T) {
				after := rapid.Uint64Range(0, newest+2).Draw(t, "after")
				limit := rapid.IntRange(1, 4).Draw(t, "limit")
				c, revision, err := l.Next(done, after, limit)
				switch {
				case after > newest || after < forgotten || newest-after > uint64(size):
					if !errors.Is(err, journal.ErrCompacted) {
						t.Fatalf("Next after %d = %v, %v; want ErrCompacted", after, c, err)
					}
				case after == newest:
					if !errors.Is(err, context.Canceled) || len(c) > 0 {
						t.Fatalf("Next after the newest = %v, %v; want to wait", c, err)
					}
				default:
					var want []uint64
					for r := after + 1; r <= min(newest, after+uint64(limit)); r++ {
						want = append(want, r)
					}
					if err != nil || !slices.Equal(c, want) || revision != want[len(want)-1] {
						t.Fatalf("Next after %d = %v, %d, %v; want %v", after, c, revision, err, want)
					}
				}
			},
		})
	})
}
