package mux_test

import (
	"errors"
	"testing"

	"xvsock/mux"
	"xvsock/mux/muxtest"
)

// A bug that the other side finds in the pump costs that link, and nothing else:
// its connections are reset and Run returns (rule R16).
func TestAPanicInThePumpEndsTheLink(t *testing.T) {
	a, b := muxtest.Pipe(64 << 10)
	faulty := mux.NewSession(a, mux.Config{Route: func(local, _ uint32) mux.Route { panic("a bug") }})
	honest := mux.NewSession(b, mux.Config{})
	ran := make(chan error, 2)
	go func() { ran <- faulty.Run() }()
	go func() { honest.Run(); ran <- nil }()
	if _, err := honest.Dial(t.Context(), 1000, 7); err == nil {
		t.Error("Dial succeeded")
	}
	var bug error
	for range 2 {
		if err := <-ran; err != nil {
			bug = err
		}
	}
	if !errors.Is(bug, mux.ErrBug) {
		t.Errorf("Run returned %v, want %v", bug, mux.ErrBug)
	}
	if _, err := faulty.Dial(t.Context(), 1001, 8); !errors.Is(err, mux.ErrBug) {
		t.Errorf("Dial after the bug returned %v", err)
	}
}
