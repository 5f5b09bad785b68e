package rig

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func say(t *testing.T, to *Transcript, text string) {
	t.Helper()
	if n, err := to.Write([]byte(text)); n != len(text) || err != nil {
		t.Fatalf("Write = %d, %v", n, err)
	}
}

func TestExpectWaitsForAWholeLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTranscript(nil)
		type found struct {
			line string
			err  error
		}
		got := make(chan found, 1)
		go func() {
			line, err := tr.Expect(t.Context(), "ready")
			got <- found{line, err}
		}()
		for _, piece := range []string{"boot\r\n[1.0] re", "ady in ", "3 s"} {
			say(t, tr, piece)
			synctest.Wait()
			if len(got) != 0 {
				t.Fatalf("Expect returned %v before the line ended", <-got)
			}
		}
		say(t, tr, "\r\nmore")
		if f := <-got; f.line != "[1.0] ready in 3 s" || f.err != nil {
			t.Errorf("Expect = %q, %v", f.line, f.err)
		}
	})
}

func TestExpectGoesOnAfterTheLastFind(t *testing.T) {
	tr := newTranscript(nil)
	say(t, tr, "tick 1\ntick 2\n")
	for _, want := range []string{"tick 1", "tick 2"} {
		if line, err := tr.Expect(t.Context(), "tick"); line != want || err != nil {
			t.Errorf("Expect = %q, %v, want %q", line, err, want)
		}
	}
	say(t, tr, "old\n")
	tr.skip()
	say(t, tr, "tick 3\n")
	if line, err := tr.Expect(t.Context(), ""); line != "tick 3" || err != nil {
		t.Errorf("Expect after skip = %q, %v", line, err)
	}
}

func TestExpectEnds(t *testing.T) {
	t.Run("with the context's cause and the last lines", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := newTranscript(nil)
			say(t, tr, "last words\n")
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := tr.Expect(ctx, "ready")
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "last words") {
				t.Errorf("Expect = %v", err)
			}
		})
	})
	t.Run("when nothing more can come", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := newTranscript(nil)
			time.AfterFunc(time.Second, tr.end)
			if _, err := tr.Expect(t.Context(), "ready"); !errors.Is(err, ErrEnded) {
				t.Errorf("Expect = %v, want ErrEnded", err)
			}
		})
	})
	t.Run("but an unfinished last line counts", func(t *testing.T) {
		tr := newTranscript(nil)
		say(t, tr, "ready, then nothing")
		tr.end()
		if line, err := tr.Expect(t.Context(), "ready"); line != "ready, then nothing" || err != nil {
			t.Errorf("Expect = %q, %v", line, err)
		}
	})
}

func TestTranscriptIsBounded(t *testing.T) {
	var log bytes.Buffer
	tr := newTranscript(&log)
	piece := strings.Repeat("x", 1<<20)
	for range maxTranscript>>20 + 1 {
		say(t, tr, piece)
	}
	if n := len(tr.String()); n != maxTranscript || !tr.truncated() {
		t.Errorf("%d bytes kept, truncated %v", n, tr.truncated())
	}
	if log.Len() != maxTranscript+1<<20 {
		t.Errorf("the log has %d bytes, want all", log.Len())
	}
}

func TestTail(t *testing.T) {
	tr := newTranscript(nil)
	say(t, tr, "1\n2\n3\n")
	if got := tr.Tail(2); got != "2\n3" {
		t.Errorf("Tail(2) = %q", got)
	}
	if got := tr.Tail(9); got != "1\n2\n3" {
		t.Errorf("Tail(9) = %q", got)
	}
}
