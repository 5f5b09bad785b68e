package rig

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhatSeveralGuestsBootFromIsSentOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSentFiles()
		var sends atomic.Int32
		broken := errors.New("no room")
		send := func() (string, error) {
			time.Sleep(time.Second) // the others come meanwhile
			if sends.Add(1) == 1 {
				return "", broken
			}
			return "/boot/guest/kernel", nil
		}
		failed := make(chan error, 4)
		for range 4 {
			go func() {
				to, err := s.once(t.Context(), "kernel", send)
				if err == nil && to != "/boot/guest/kernel" {
					t.Errorf("once = %q", to)
				}
				failed <- err
			}()
		}
		errs := 0
		for range 4 {
			if err := <-failed; errors.Is(err, broken) {
				errs++
			} else if err != nil {
				t.Errorf("once = %v", err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s.turn <- struct{}{} // somebody sends for longer
		if _, err := s.once(ctx, "another", send); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("once beside a send that hangs = %v", err)
		}
		if errs != 1 || sends.Load() != 2 {
			t.Errorf("%d callers failed and %d times it was sent, want 1 and 2", errs, sends.Load())
		}
	})
}
