package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A talk over net.Pipe, whose ends are those of a connection that cannot end a direction
// apart.
func talkOver(t *testing.T, ctx context.Context, in io.Reader, idle time.Duration) (other net.Conn, out *bytes.Buffer, done chan error) {
	near, other := net.Pipe()
	out, done = new(bytes.Buffer), make(chan error, 1)
	go func() {
		defer near.Close()
		done <- (&talk{conn: near, in: in, out: out, idle: idle}).run(ctx)
	}()
	t.Cleanup(func() { other.Close() })
	return other, out, done
}

func TestATalkIsIdleFromTheLastThatMovedEitherWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, input := io.Pipe()
		defer input.Close()
		other, _, done := talkOver(t, t.Context(), in, 10*time.Second)
		began := time.Now()
		for range 3 {
			time.Sleep(9 * time.Second)
			io.WriteString(other, "x") // received
			time.Sleep(9 * time.Second)
			go input.Write([]byte("y")) // sent
			io.ReadFull(other, make([]byte, 1))
		}
		err := <-done
		if took := time.Since(began); took != 64*time.Second || err == nil || err.Error() != "nothing was sent or received for 10s" {
			t.Errorf("after %v: %v; want 10 s after the last byte, at 54 s", took, err)
		}
	})
}

func TestATalkWithoutAnIdleTimeGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, input := io.Pipe()
		defer input.Close()
		ctx, cancel := context.WithCancelCause(t.Context())
		_, _, done := talkOver(t, ctx, in, 0)
		select {
		case err := <-done:
			t.Errorf("it ends: %v", err)
		case <-time.After(1000 * time.Hour):
		}
		why := errors.New("told to")
		cancel(why)
		if err := <-done; err != why {
			t.Errorf("it ends with %v", err)
		}
	})
}

// broken gives some bytes, and then fails.
type broken struct{ given bool }

func (b *broken) Read(p []byte) (int, error) {
	if b.given {
		return 0, errors.New("bad sector")
	}
	b.given = true
	return copy(p, "part"), nil
}

func TestInputThatCannotBeReadIsAnError(t *testing.T) {
	other, _, done := talkOver(t, t.Context(), &broken{}, 0)
	io.ReadAll(other)
	if err := <-done; err == nil || err.Error() != "read standard input: bad sector" {
		t.Error(err)
	}
}

// deaf is a connection whose other end has shut its reading.
type deaf struct{ net.Conn }

func (deaf) Write([]byte) (int, error) { return 0, syscall.EPIPE }

func TestWhoTakesNothingMayStillSend(t *testing.T) {
	near, other := net.Pipe()
	var out bytes.Buffer
	done := make(chan error, 1)
	go func() {
		done <- (&talk{conn: deaf{near}, in: strings.NewReader("in vain"), out: &out}).run(t.Context())
	}()
	io.WriteString(other, "still here")
	other.Close()
	if err := <-done; err != errUntaken || out.String() != "still here" {
		t.Errorf("%q is received, and then %v", out.String(), err)
	}
	near.Close()
}

// full is an output that takes nothing.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestOutputThatCannotBeWrittenIsAnError(t *testing.T) {
	near, other := net.Pipe()
	defer other.Close()
	go io.WriteString(other, "x")
	err := (&talk{conn: near, in: strings.NewReader(""), out: full{}}).run(t.Context())
	near.Close()
	if err == nil || err.Error() != "write standard output: no space left" {
		t.Error(err)
	}
}

// A file may have input that the talk has not come to when the other end is gone.
func TestWhatWaitsInAFileWhenTheOtherIsGoneIsNotTaken(t *testing.T) {
	for name, test := range map[string]struct {
		input       string
		ended, asks bool // asks: the sending is waited for
	}{
		"input that waits":        {"more", false, true},
		"the end of input":        {"", true, true},
		"input that may yet come": {"", false, false},
		"input and the end of it": {"more", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			in, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			defer w.Close()
			io.WriteString(w, test.input)
			if test.ended {
				w.Close()
			}
			sent, received, gone := make(chan error), make(chan error, 1), make(chan struct{})
			received <- nil
			close(gone)
			done := make(chan error, 1)
			go func() { done <- (&talk{in: in}).wait(t.Context(), sent, received, gone, nil) }()
			if !test.asks {
				if err := <-done; err != nil {
					t.Errorf("it ends with %v", err)
				}
				return
			}
			select {
			case sent <- errUntaken:
			case err := <-done:
				t.Fatalf("it ends with %v before it is known what is sent", err)
			}
			if err := <-done; err != errUntaken {
				t.Errorf("it ends with %v", err)
			}
		})
	}
}

func TestAFilesInputIsOfferedFromBeforeItIsRead(t *testing.T) {
	in, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	io.WriteString(w, "x")
	w.Close()
	var k talk
	during := &lookingAt{File: in, offering: &k.offering}
	// What is no file is offered when it was read.
	if n, err := (talkSource{during, &k, &k.offering}).Read(make([]byte, 1)); n != 1 || err != nil || during.saw || !k.offering.Load() {
		t.Errorf("%d, %v, offering %v while and %v after a read", n, err, during.saw, k.offering.Load())
	}
	if n, err := (talkSource{in, &k, &k.offering}).Read(make([]byte, 1)); n != 0 || err != io.EOF || k.offering.Load() {
		t.Errorf("%d, %v at the end, offering %v", n, err, k.offering.Load())
	}
	if !awaitInput(in) || awaitInput(during) || !waiting(in) || waiting(strings.NewReader("x")) {
		t.Error("of a file it can be told whether a read would wait, and of nothing else")
	}
}

// lookingAt is a reader that is no file itself, and looks whether something is offered.
type lookingAt struct {
	*os.File
	offering *atomic.Bool
	saw      bool
}

func (l *lookingAt) Read(p []byte) (int, error) {
	l.saw = l.offering.Load()
	return l.File.Read(p)
}

func TestTheBackoffOfAListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backoff
		want := []time.Duration{100, 200, 400, 800, 1000, 1000}
		for i, w := range want {
			if got := b.next(); got != w*time.Millisecond {
				t.Errorf("pause %d is %v, want %v", i, got, w*time.Millisecond)
			}
		}
		b.begin()
		time.Sleep(relistenMax - 1)
		if got := b.next(); got != relistenMax {
			t.Errorf("after a listener that was lost soon: %v", got)
		}
		b.begin()
		time.Sleep(relistenMax)
		if got := b.next(); got != relistenMin {
			t.Errorf("after a listener that has lived: %v", got)
		}
	})
}
