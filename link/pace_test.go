package link_test

import (
	"errors"
	"testing"
	"time"

	"xvsock/link"
)

func TestPace(t *testing.T) {
	lost := &link.Error{Cause: link.Lost}
	broken := &link.Error{Cause: link.Broken}
	var p link.Pace
	for n, step := range []struct {
		err   error
		lived time.Duration
		want  time.Duration
	}{
		{lost, 0, 100 * time.Millisecond},
		{lost, 0, 200 * time.Millisecond},
		{errors.New("anything"), time.Second, 400 * time.Millisecond},
		{lost, 10 * time.Second, 100 * time.Millisecond}, // a stable link starts anew
		{lost, 0, 200 * time.Millisecond},
		{broken, 0, 30 * time.Second}, // rule R5
		{broken, time.Hour, 30 * time.Second},
		{lost, 0, 100 * time.Millisecond},
		{lost, 0, 200 * time.Millisecond},
		{lost, 0, 400 * time.Millisecond},
		{lost, 0, 800 * time.Millisecond},
		{lost, 0, 1600 * time.Millisecond},
		{lost, 0, 3200 * time.Millisecond},
		{lost, 0, 5 * time.Second},
		{lost, 0, 5 * time.Second},
	} {
		if got := p.Next(step.err, step.lived); got != step.want {
			t.Errorf("step %d: wait %v, want %v", n, got, step.want)
		}
	}
}
