package rig

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// faulty is a host whose emulator loses guests, as OutliveEmulator sees it.
type faulty struct {
	t        *testing.T
	xen      *Transcript
	lived    int // lives that have begun
	removed  int
	logged   []string
	removing error
}

func (f *faulty) outlive(ctx context.Context, life func(ctx context.Context) error) error {
	log := func(format string, args ...any) { f.logged = append(f.logged, fmt.Sprintf(format, args...)) }
	remove := func() error { f.removed++; return f.removing }
	return outlive(ctx, f.xen, log, remove, func(ctx context.Context) error { f.lived++; return life(ctx) }, "web")
}

// faults has Xen report a loss.
func (f *faulty) faults() {
	say(f.t, f.xen, "(XEN) d4v0 Triple fault - invoking HVM shutdown action 1\r\n")
}

// until is a life that waits for its context's end, or an hour.
func until(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return fmt.Errorf("create the guest: %w", context.Cause(ctx))
	case <-time.After(time.Hour):
		return errors.New("an hour has passed")
	}
}

func TestOutlive(t *testing.T) {
	other := errors.New("the guest says nonsense")
	for _, tt := range []struct {
		name           string
		life           func(f *faulty, ctx context.Context) error
		lived, removed int
		took           time.Duration
		want           error // nil for none
		says           string
	}{
		{name: "a guest that lives has one life", life: func(*faulty, context.Context) error { return nil }, lived: 1},
		{
			name: "an error of a guest that was not lost counts at once", lived: 1, want: other,
			life: func(*faulty, context.Context) error { return other },
		},
		{
			name: "a loss ends the life as soon as Xen reports it, and the next life counts", lived: 3, removed: 2, took: 4 * time.Second,
			life: func(f *faulty, ctx context.Context) error {
				if f.lived == 3 {
					return nil
				}
				time.AfterFunc(2*time.Second, f.faults)
				return until(ctx)
			},
		},
		{
			name: "a loss that life notices first is one", lived: 2, removed: 1,
			life: func(f *faulty, _ context.Context) error {
				if f.lived == 2 {
					return nil
				}
				f.faults()
				return other
			},
		},
		{
			name: "what Xen reported in an earlier life does not count", lived: 2, removed: 1, want: other,
			life: func(f *faulty, ctx context.Context) error {
				if f.lived == 2 {
					return other
				}
				f.faults()
				return until(ctx)
			},
		},
		{
			name: "a guest that has done all before it was lost has lived", lived: 1,
			life: func(f *faulty, _ context.Context) error { f.faults(); return nil },
		},
		{
			name: "a guest that is lost in every life is given up, and the error says so", lived: maxLives, removed: maxLives - 1,
			took: maxLives * time.Second, want: ErrLost,
			says: fmt.Sprintf("guest web: lost in each of %d lives, the last one: create the guest: %v ((XEN) d4v0 Triple fault", maxLives, ErrLost),
			life: func(f *faulty, ctx context.Context) error {
				time.AfterFunc(time.Second, f.faults)
				return until(ctx)
			},
		},
		{
			name: "the error of a guest that was lost has what life said too", lived: maxLives, removed: maxLives - 1, want: other,
			says: other.Error(),
			life: func(f *faulty, _ context.Context) error { f.faults(); return other },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &faulty{t: t, xen: newTranscript(nil)}
				f.faults() // of a guest before
				begin := time.Now()
				err := f.outlive(t.Context(), func(ctx context.Context) error { return tt.life(f, ctx) })
				if !errors.Is(err, tt.want) || (err != nil && !strings.Contains(err.Error(), tt.says)) {
					t.Errorf("outlive = %v, want %v with %q", err, tt.want, tt.says)
				}
				if f.lived != tt.lived || f.removed != tt.removed || len(f.logged) != tt.removed {
					t.Errorf("%d lives, %d guests removed, %d lines logged; want %d, and %d of both", f.lived, f.removed, len(f.logged), tt.lived, tt.removed)
				}
				if took := time.Since(begin); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
			})
		})
	}
}

func TestOutliveEnds(t *testing.T) {
	t.Run("with the context, whose end is no loss", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := &faulty{t: t, xen: newTranscript(nil)}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := f.outlive(ctx, until); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrLost) || f.lived != 1 {
				t.Errorf("outlive = %v after %d lives", err, f.lived)
			}
		})
	})
	t.Run("when what is left of a guest cannot be removed", func(t *testing.T) {
		f := &faulty{t: t, xen: newTranscript(nil), removing: ErrHostDown}
		err := f.outlive(t.Context(), func(ctx context.Context) error { f.faults(); return until(ctx) })
		if !errors.Is(err, ErrHostDown) || f.lived != 1 {
			t.Errorf("outlive = %v after %d lives", err, f.lived)
		}
	})
}

func TestAwaitLeavesTheMarkAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTranscript(nil)
		say(t, tr, "first fault\n")
		from := tr.length()
		time.AfterFunc(time.Second, func() { say(t, tr, "second fau") })
		time.AfterFunc(2*time.Second, func() { say(t, tr, "lt\n") })
		begin := time.Now()
		line, err := tr.await(t.Context(), from, "fault")
		if line != "second fault" || err != nil || time.Since(begin) != 2*time.Second {
			t.Errorf("await = %q, %v after %v", line, err, time.Since(begin))
		}
		if line, err := tr.Expect(t.Context(), "fault"); line != "first fault" || err != nil {
			t.Errorf("Expect = %q, %v", line, err)
		}
		time.AfterFunc(time.Second, tr.end)
		if _, err := tr.await(t.Context(), tr.length(), "fault"); !errors.Is(err, ErrEnded) {
			t.Errorf("await = %v, want ErrEnded", err)
		}
	})
}
