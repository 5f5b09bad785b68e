package xenstore_test

import (
	"context"
	"errors"
	"io/fs"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/xenstore"
)

// committing answers every transaction with what end says, and reads in it with
// ENOENT.
func (d *daemon) committing(end func(verdict string) (name string)) {
	for r := range d.requests {
		switch r.Op {
		case xenstore.OpTransactionStart:
			d.reply(r, "7\x00")
		case xenstore.OpRead:
			d.refuse(r, "ENOENT")
		case xenstore.OpTransactionEnd:
			if name := end(r.payload); name != "" {
				d.refuse(r, name)
				continue
			}
			d.reply(r, "OK\x00")
		}
	}
}

func TestTransactionRequestsCarryItsID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, c := newDaemon(t, xenstore.Config{})
		done := doing(func() error {
			return c.Transaction(t.Context(), func(tx *xenstore.Tx) error { return tx.Write(t.Context(), "/a", "1") })
		})
		start := d.expect(xenstore.OpTransactionStart, "\x00")
		want(t, start.TransactionID, 0)
		d.reply(start, "4294967295\x00")
		for _, r := range []message{
			{xenstore.Header{Op: xenstore.OpWrite}, "/a\x001"}, {xenstore.Header{Op: xenstore.OpTransactionEnd}, "T\x00"},
		} {
			got := d.expect(r.Op, r.payload)
			want(t, got.TransactionID, 1<<32-1)
			d.reply(got, "OK\x00")
		}
		want(t, <-done, nil)
	})
}

func TestATransactionIsTriedAgainButNotForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, c := newDaemon(t, xenstore.Config{})
		go d.committing(func(string) string { return "EAGAIN" })
		runs, start := 0, time.Now()
		err := c.Transaction(t.Context(), func(*xenstore.Tx) error { runs++; return nil })
		wantError(t, err, syscall.EAGAIN)
		want(t, runs, 32)
		if took := time.Since(start); took < 100*time.Millisecond || took > 3200*time.Millisecond {
			t.Fatalf("took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		wantError(t, c.Transaction(ctx, func(*xenstore.Tx) error { return nil }), context.DeadlineExceeded)
	})
}

func TestATransactionThatXenstoredForgotIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, c := newDaemon(t, xenstore.Config{})
		go d.committing(func(string) string { return "" })
		runs := 0
		err := c.Transaction(t.Context(), func(tx *xenstore.Tx) error {
			if runs++; runs > 3 {
				return nil
			}
			_, err := tx.Read(t.Context(), "/a")
			return err
		})
		want(t, err, nil)
		want(t, runs, 4)
	})
}

func TestATransactionEndsWhateverItsFunctionDoes(t *testing.T) {
	for name, f := range map[string]func() error{
		"an error": func() error { return fs.ErrInvalid },
		"a panic":  func() error { panic("stop") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, c := newDaemon(t, xenstore.Config{})
				verdict := ""
				go d.committing(func(v string) string { verdict = v; return "" })
				func() {
					defer func() { recover() }()
					wantError(t, c.Transaction(t.Context(), func(*xenstore.Tx) error { return f() }), fs.ErrInvalid)
				}()
				want(t, verdict, "F\x00")
			})
		})
	}
}

func TestATransactionGivenUpAtItsStartIsAborted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, c := newDaemon(t, xenstore.Config{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		done := doing(func() error {
			return c.Transaction(ctx, func(*xenstore.Tx) error { return errors.New("must not run") })
		})
		start := d.expect(xenstore.OpTransactionStart, "\x00")
		wantError(t, <-done, context.DeadlineExceeded)
		d.reply(start, "9\x00")
		end := d.expect(xenstore.OpTransactionEnd, "F\x00")
		want(t, end.TransactionID, 9)
		d.reply(end, "OK\x00")
	})
}

func TestATransactionGivenUpInsideIsAborted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, c := newDaemon(t, xenstore.Config{Device: true})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		done := doing(func() error {
			return c.Transaction(ctx, func(tx *xenstore.Tx) error { return tx.Write(ctx, "/a", "1") })
		})
		d.reply(d.expect(xenstore.OpTransactionStart, "\x00"), "9\x00")
		late := d.expect(xenstore.OpWrite, "/a\x001")
		wantError(t, <-done, context.DeadlineExceeded)
		d.idle() // one request at a time
		d.reply(late, "OK\x00")
		d.reply(d.expect(xenstore.OpTransactionEnd, "F\x00"), "OK\x00")
	})
}

func TestATransactionIDThatIsNone(t *testing.T) {
	for _, text := range []string{"", "0\x00", "x\x00", "4294967296\x00", "-1\x00"} {
		synctest.Test(t, func(t *testing.T) {
			d, c := newDaemon(t, xenstore.Config{})
			done := doing(func() error { return c.Transaction(t.Context(), func(*xenstore.Tx) error { return nil }) })
			d.reply(d.expect(xenstore.OpTransactionStart, "\x00"), text)
			wantError(t, <-done, xenstore.ErrProtocol)
		})
	}
}
