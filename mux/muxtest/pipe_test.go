package muxtest_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/mux"
	"xvsock/mux/muxtest"
)

var _ mux.Transport = (*muxtest.End)(nil)

// woken says whether Sleep of e returns before its time.
func woken(e *muxtest.End) bool {
	start := time.Now()
	_ = e.Sleep(time.Minute)
	_ = e.Look()
	return time.Since(start) < time.Minute
}

func send(t *testing.T, e *muxtest.End, n int) {
	t.Helper()
	if a, b := e.Reserve(n); len(a)+len(b) != n {
		t.Fatalf("Reserve(%d) gave %d bytes", n, len(a)+len(b))
	}
	if err := e.Commit(n); err != nil {
		t.Fatal(err)
	}
}

func TestNothingIsHeardBeforeFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := muxtest.Pipe(4096)
		send(t, a, 64)
		if woken(b) {
			t.Error("woken by Commit alone")
		}
		_ = a.Flush()
		if !woken(b) {
			t.Error("not woken by Flush")
		}
		_ = a.Flush()
		if woken(b) {
			t.Error("woken by a Flush of nothing")
		}
	})
}

func TestRoomIsToldToWhoWantsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := muxtest.Pipe(4096)
		send(t, a, 4096)
		b.Discard(1024)
		if _ = b.Flush(); woken(a) {
			t.Error("woken without a wish")
		}
		a.Want(2048)
		if _ = a.Flush(); woken(a) {
			t.Error("woken with less room than wanted")
		}
		b.Discard(1024)
		if x, _ := a.Reserve(2048); x != nil {
			t.Error("room is known without Wait")
		}
		if _ = b.Flush(); !woken(a) {
			t.Error("not woken by the room that was wanted")
		}
		send(t, a, 2048)
		b.Discard(2048)
		a.Want(1024)
		if _ = a.Flush(); !woken(a) {
			t.Error("not woken by room that was there before the wish")
		}
	})
}

func TestFail(t *testing.T) {
	a, b := muxtest.Pipe(4096)
	why := errors.New("why")
	a.Fail(why)
	a.Fail(errors.New("later"))
	if err := a.Sleep(0); err != why {
		t.Errorf("Sleep() = %v, want the first reason", err)
	}
	if err := b.Sleep(0); err != muxtest.ErrGone {
		t.Errorf("Sleep() of the other = %v, want ErrGone", err)
	}
}
