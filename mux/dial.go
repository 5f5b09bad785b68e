package mux

import (
	"context"
	"errors"
	"syscall"
	"time"
)

// Dial connects the local port to the remote one. It returns context.Cause if
// ctx ends first, ETIMEDOUT after Config.DialTimeout, EADDRINUSE if the tuple is
// taken, EADDRNOTAVAIL for a port that is none, ENOBUFS if this side is out of
// budget or tuples, and *ResetError if Config.Permit or the other side refused or
// the link ended.
func (s *Session) Dial(ctx context.Context, local, remote uint32) (*Conn, error) {
	if !ValidPort(local) || !ValidPort(remote) {
		return nil, syscall.EADDRNOTAVAIL
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.DialTimeout, syscall.ETIMEDOUT)
	defer cancel()
	var c *Conn
	k := tuple{local, remote}
	err := s.request(k, func(p pass) (err error) { c, err = s.begin(k, p); return err })
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		c.cond.Broadcast()
	})
	defer stop()
	if err := c.await(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// request makes the tuple by begin. It asks for a permit only when the tuple could be
// entered, as a permit may count against a rate.
func (s *Session) request(k tuple, begin func(p pass) error) error {
	for {
		var err error
		s.withLock(func() { err = s.vacant(k) })
		if err != nil {
			return err
		}
		p, r := s.permit(k, false)
		if r != ReasonNone {
			return &ResetError{Reason: r, Dial: true}
		}
		if err := begin(p); !errors.Is(err, errReviewed) {
			return err
		}
	}
}

// begin enters the tuple and sends REQUEST.
func (s *Session) begin(k tuple, p pass) (*Conn, error) {
	s.mu.Lock()
	defer s.unlock()
	c, err := s.enter(k, p, false)
	if err != nil {
		return nil, err
	}
	c.open = true
	c.want(pendRequest)
	s.tx.drain()
	return c, nil
}

// await waits for the answer to REQUEST.
func (c *Conn) await(ctx context.Context) error {
	c.s.mu.Lock()
	defer c.s.unlock()
	for c.state == dialing && ctx.Err() == nil {
		c.cond.Wait()
	}
	if c.answered {
		return nil
	}
	if c.state == dialing {
		c.endWrites(context.Cause(ctx))
		c.beginReset(ReasonNone)
		c.s.tx.drain()
	}
	return c.writeErr
}

// vacant returns why no connection can be entered under k, or nil. The caller
// holds mu.
func (s *Session) vacant(k tuple) error {
	switch {
	case s.ended != nil:
		return s.ended.unsent()
	case s.closing:
		return &ResetError{Cause: ErrSessionClosed, Unsent: true}
	case s.table.get(k) != nil:
		return syscall.EADDRINUSE
	case s.table.len() >= s.cfg.MaxConns:
		return syscall.ENOBUFS
	}
	return nil
}

// enter makes a connection and puts it into the table, where it stands under
// the permit of p; if it cannot, the permit is released. The caller holds mu.
func (s *Session) enter(k tuple, p pass, incoming bool) (*Conn, error) {
	if err := s.admissible(k, p); err != nil {
		return nil, err
	}
	c := newConn(s, k, incoming)
	if c == nil {
		p.release()
		return nil, syscall.ENOBUFS
	}
	s.seat(k, c, p, incoming)
	return c, nil
}

// admissible returns why no tuple can be entered under k with the permit of p, which
// is released then, or nil. The caller holds mu.
func (s *Session) admissible(k tuple, p pass) error {
	err := s.vacant(k)
	if err == nil && p.reviews != s.reviews.Load() {
		err = errReviewed
	}
	if err != nil {
		p.release()
	}
	return err
}

// seat puts a tuple that is admissible into the table. The first one starts the clock
// of silence, and the pump, which may wait without limit, or for long. The caller holds mu.
func (s *Session) seat(k tuple, o owner, p pass, incoming bool) {
	if s.table.len() == 0 {
		s.since = time.Now()
		s.hear(s.since)
	}
	if s.table.len() == s.stands && !incoming {
		s.t.Wake()
	}
	s.theirs = incoming
	s.table.put(k, entry{owner: o, permit: p.permit})
	if s.standing(k) {
		s.stands++
	}
}

// standing says whether k is of Config.Standing.
func (s *Session) standing(k tuple) bool {
	return s.cfg.Standing != 0 && (k.local == s.cfg.Standing || k.remote == s.cfg.Standing)
}

// leave takes a tuple out of the table, and gives up what it stood under. The
// caller holds mu.
func (s *Session) leave(k tuple) {
	if p := s.table.remove(k); p != nil {
		p.Release()
	}
	if s.standing(k) {
		s.stands--
	}
	if s.table.len() == 0 {
		s.since = time.Now()
	}
}
