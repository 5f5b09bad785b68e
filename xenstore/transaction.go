package xenstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"syscall"
	"time"
)

const (
	// transactionAttempts bounds how often a transaction is tried.
	transactionAttempts = 32
	// maxBackoff bounds the wait between two attempts.
	maxBackoff = 100 * time.Millisecond
)

// Tx is a transaction. It has the requests of a Client. Until it ends nobody
// else sees what is written in it.
type Tx struct{ store }

// Transaction calls f and makes all that it does with its Tx one step, or
// nothing of it: nothing when f returns an error, which Transaction then
// returns. When something that f has read or written was changed by others
// meanwhile, f is called again, after a short random wait; it must do nothing
// that cannot be repeated. After 32 attempts the error is syscall.EAGAIN.
//
// When ctx ends during the last step, the changes may have been made or not.
func (c *Client) Transaction(ctx context.Context, f func(tx *Tx) error) error {
	for attempt := 1; ; attempt++ {
		err := c.attempt(ctx, f)
		if !isErrno(err, syscall.EAGAIN) {
			return err
		}
		if attempt == transactionAttempts {
			return fmt.Errorf("%d attempts: %w", attempt, err)
		}
		if err := c.pause(ctx, attempt); err != nil {
			return err
		}
	}
}

// pause waits for a random part of a time that doubles with each attempt, so
// that those who disturb each other come apart.
func (c *Client) pause(ctx context.Context, attempt int) error {
	bound := min(time.Millisecond<<min(attempt, 16), maxBackoff)
	timer := time.NewTimer(rand.N(bound))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return &Error{Op: OpTransactionStart, Err: ctx.Err()}
	case <-c.done:
		return &Error{Op: OpTransactionStart, Err: c.Err()}
	}
}

// attempt runs f in a transaction once. The error is EAGAIN if it has to be
// tried again.
func (c *Client) attempt(ctx context.Context, f func(tx *Tx) error) (err error) {
	tx, err := c.begin(ctx)
	if err != nil {
		return err
	}
	commit := false
	// In a defer, so that a panic of f leaves no transaction behind either.
	defer func() {
		if endErr := c.end(ctx, tx, commit); commit {
			err = endErr
		}
	}()
	if err := f(tx); err != nil {
		if errors.Is(err, syscall.ENOENT) && tx.isGone(ctx) {
			return &Error{Op: OpTransactionEnd, Err: syscall.EAGAIN}
		}
		return err
	}
	commit = true
	return nil
}

// begin starts a transaction.
func (c *Client) begin(ctx context.Context) (*Tx, error) {
	payload, err := c.call(ctx, &request{
		op: OpTransactionStart, payload: []byte{0},
		undo: func(late []byte) {
			if id, err := parseTransactionID(late); err == nil {
				c.spawn(func() { c.call(context.Background(), endRequest(id, false)) })
			}
		},
	})
	if err != nil {
		return nil, &Error{Op: OpTransactionStart, Err: err}
	}
	id, err := parseTransactionID(payload)
	if err != nil {
		return nil, &Error{Op: OpTransactionStart, Err: err}
	}
	tx := new(Tx)
	tx.client, tx.tx = c, id
	return tx, nil
}

// end commits or aborts. The request goes out even if ctx has ended: an open
// transaction counts against the domain's quota.
func (c *Client) end(ctx context.Context, tx *Tx, commit bool) error {
	tx.ended.Store(true)
	if err := c.detached(ctx, endRequest(tx.tx, commit)); err != nil {
		return &Error{Op: OpTransactionEnd, Err: err}
	}
	return nil
}

// endRequest is the request that ends a transaction.
func endRequest(id uint32, commit bool) *request {
	verdict := "F"
	if commit {
		verdict = "T"
	}
	return &request{op: OpTransactionEnd, tx: id, payload: AppendStrings(nil, verdict)}
}

// isGone reports whether xenstored does not know the transaction any more. After
// the domain was resumed the kernel passes the old id on, and xenstored answers
// ENOENT to every request with it, which must not be taken for "no such node".
// The root always exists; who may not read it gets EACCES.
func (tx *Tx) isGone(ctx context.Context) bool {
	_, err := tx.Read(ctx, "/")
	return isErrno(err, syscall.ENOENT)
}

// parseTransactionID reads the answer to TRANSACTION_START. 0 would mean "no
// transaction".
func parseTransactionID(payload []byte) (uint32, error) {
	id, err := strconv.ParseUint(trimNUL(payload), 10, 32)
	if err != nil || id == 0 {
		return 0, fmt.Errorf("%w: transaction id %.16q", ErrProtocol, payload)
	}
	return uint32(id), nil
}
