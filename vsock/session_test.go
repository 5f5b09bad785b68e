package vsock

import (
	"testing"
	"testing/synctest"
	"time"

	"xvsock/link"
)

func TestAFlushThatComesAfterTheSessionsEndDoesNotReachTheLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, finished := range []bool{false, true} {
			a, b, err := link.Loop(1, link.Options{})
			if err != nil {
				t.Fatal(err)
			}
			tr := &transport{Link: a}
			tr.Reserve(32)
			if err := tr.Commit(32); err != nil {
				t.Fatal(err)
			}
			if finished {
				tr.finish()
			}
			if err := tr.Flush(); err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			if err := b.Wait(time.Second); err != nil {
				t.Fatal(err)
			}
			if silent := time.Since(begin) == time.Second; silent != finished {
				t.Errorf("session finished: %v; other side left alone: %v", finished, silent)
			}
			a.Close()
			b.Close()
		}
	})
}
