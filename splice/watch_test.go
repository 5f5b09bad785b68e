package splice

import (
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// telling is a connection that tells its end.
type telling struct {
	net.Conn
	done chan struct{}
	err  error
}

func (c *telling) Done() <-chan struct{} { return c.done }
func (c *telling) Err() error            { return c.err }

func (c *telling) Write([]byte) (int, error) { panic("it was asked") }

// mute is a connection that does not tell its end.
type mute struct{ net.Conn }

// Everything happens 25 s after the beginning, and the grace is 10 s.
func TestALossIsNoticedWhateverTheFlowsDo(t *testing.T) {
	lost := errors.New("lost")
	for name, test := range map[string]struct {
		end  func(w *Watch, c *telling)
		want time.Duration // 0: never
		over bool
		tell bool
	}{
		"a reset is told":                  {func(_ *Watch, c *telling) { c.err = lost; close(c.done) }, 25 * time.Second, false, true},
		"an orderly end is told":           {func(_ *Watch, c *telling) { close(c.done) }, 35 * time.Second, true, true},
		"nothing is told":                  {func(*Watch, *telling) {}, 0, false, false},
		"both flows have ended":            {func(w *Watch, _ *telling) { w.Half(); w.Half() }, 35 * time.Second, true, false},
		"both have, where the end is told": {func(w *Watch, _ *telling) { w.Half(); w.Half() }, 35 * time.Second, true, true},
		"one flow has ended":               {func(w *Watch, _ *telling) { w.Half() }, 0, false, true},
		"what was sent last is still taken": {func(w *Watch, c *telling) {
			close(c.done)
			for i := range 6 {
				time.AfterFunc(time.Duration(i)*7*time.Second, func() { w.Given.Add(1) })
			}
		}, 75 * time.Second, true, true}, // the last at 60 s
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &telling{done: make(chan struct{})}
				var conn net.Conn = mute{}
				if test.tell {
					conn = c
				}
				began := time.Now()
				var after atomic.Int64
				over := 0
				w := NewWatch(conn, 10*time.Second, func() { over++ }, func(error) { after.Store(int64(time.Since(began))) })
				stop, ended := make(chan struct{}), make(chan struct{})
				go func() { defer close(ended); w.Run(stop) }()
				time.Sleep(25 * time.Second)
				test.end(w, c)
				time.Sleep(time.Hour)
				close(stop)
				<-ended
				if got := time.Duration(after.Load()); got != test.want {
					t.Errorf("lost after %v; want %v", got, test.want)
				}
				if (over > 0) != test.over || over > 1 {
					t.Errorf("over was said %d times", over)
				}
			})
		})
	}
}
