package xenstore_test

import (
	"context"
	"encoding/binary"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/xenstore"
)

// fired reports whether w has a value, and takes it.
func fired(w *xenstore.Watch) bool {
	synctest.Wait()
	select {
	case <-w.Changed():
		return true
	default:
		return false
	}
}

// watching sets a watch and lets its first event come.
func watching(d *daemon, path, token string, set func() (*xenstore.Watch, error)) *xenstore.Watch {
	d.Helper()
	var w *xenstore.Watch
	done := doing(func() (err error) { w, err = set(); return err })
	d.reply(d.expect(xenstore.OpWatch, path+"\x00"+token+"\x00"), "OK\x00")
	if err := <-done; err != nil {
		d.Fatal(err)
	}
	d.send(xenstore.OpWatchEvent, 0, path+"\x00"+token+"\x00")
	return w
}

func TestEventsAreRoutedByTypeAndToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, c := newDaemon(t, xenstore.Config{})
		a := watching(d, "/a", "1", func() (*xenstore.Watch, error) { return c.Watch(t.Context(), "/a") })
		b := watching(d, "/a", "2", func() (*xenstore.Watch, error) { return c.Watch(t.Context(), "/a") })
		want(t, fired(a) && fired(b), true)
		// The ids of this event are those of a request under way.
		got := reading(t.Context(), c, "/r")
		r := d.expect(xenstore.OpRead, "/r\x00")
		d.send(xenstore.OpWatchEvent, r.RequestID, "/a/below\x002\x00")
		want(t, fired(a), false)
		want(t, fired(b), true)
		d.reply(r, "1")
		want(t, <-got, result{"1", nil})
	})
}

func TestAWatchNobodyLooksAtHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, c := newDaemon(t, xenstore.Config{})
		w := watching(d, "/a", "1", func() (*xenstore.Watch, error) { return c.Watch(t.Context(), "/a") })
		for range 1000 {
			d.send(xenstore.OpWatchEvent, 0, "/a\x001\x00")
		}
		got := reading(t.Context(), c, "/r")
		d.reply(d.expect(xenstore.OpRead, "/r\x00"), "1")
		want(t, <-got, result{"1", nil})
		want(t, fired(w), true)
		want(t, fired(w), false)
	})
}

func TestTheResumeWatchPassesOverTheFirstEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, c := newDaemon(t, xenstore.Config{})
		w := watching(d, "domid/resumed", "1", func() (*xenstore.Watch, error) { return c.WatchResume(t.Context()) })
		want(t, fired(w), false)
		d.send(xenstore.OpWatchEvent, 0, "domid/resumed\x001\x00")
		want(t, fired(w), true)
	})
}

func TestAWatchGivenUpIsRemovedWhenItsAnswerComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, c := newDaemon(t, xenstore.Config{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		done := doing(func() error { _, err := c.Watch(ctx, "/a"); return err })
		r := d.expect(xenstore.OpWatch, "/a\x001\x00")
		wantError(t, <-done, context.DeadlineExceeded)
		d.send(xenstore.OpWatchEvent, 0, "/a\x001\x00")
		d.reply(r, "OK\x00")
		d.reply(d.expect(xenstore.OpUnwatch, "/a\x001\x00"), "OK\x00")
		want(t, c.Dropped(), 1)
	})
}

func TestClosingAWatchDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, c := newDaemon(t, xenstore.Config{Device: true})
		w := watching(d, "/a", "1", func() (*xenstore.Watch, error) { return c.Watch(t.Context(), "/a") })
		slow := reading(t.Context(), c, "/r")
		r := d.expect(xenstore.OpRead, "/r\x00")
		start := time.Now()
		wantError(t, w.Close(), context.DeadlineExceeded)
		want(t, time.Since(start), 5*time.Second)
		// It is still done, as soon as it can be.
		d.reply(r, "1")
		<-slow
		d.reply(d.expect(xenstore.OpUnwatch, "/a\x001\x00"), "OK\x00")
		d.idle()
	})
}

func TestTokensAreNotUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, c := newDaemon(t, xenstore.Config{})
		first := watching(d, "/a", "1", func() (*xenstore.Watch, error) { return c.Watch(t.Context(), "/a") })
		closed := doing(first.Close)
		d.reply(d.expect(xenstore.OpUnwatch, "/a\x001\x00"), "OK\x00")
		want(t, <-closed, nil)
		second := watching(d, "/a", "2", func() (*xenstore.Watch, error) { return c.Watch(t.Context(), "/a") })
		want(t, fired(second), true)
		d.send(xenstore.OpWatchEvent, binary.LittleEndian.Uint32([]byte("junk")), "/a\x001\x00")
		want(t, fired(second), false)
	})
}
