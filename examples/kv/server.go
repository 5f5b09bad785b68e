package main

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
)

const (
	maxConns    = 256
	maxLine     = len("SET ") + maxKey + len(" ") + maxText + len("\r\n")
	acceptPause = 50 * time.Millisecond
)

// server serves a store to many connections.
type server struct {
	store *store
	log   *slog.Logger
	slots chan struct{} // one for each open connection
	conns sync.WaitGroup
}

func newServer(log *slog.Logger) *server {
	return &server{store: newStore(), log: log, slots: make(chan struct{}, maxConns)}
}

// serve accepts until ctx is done, whose error it returns then, or the listener fails.
// It returns after all connections have ended.
func (s *server) serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.conns.Wait()
	defer cancel()
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return ctx.Err()
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // such as for want of descriptors
			s.log.Warn("accept", "error", err)
			time.Sleep(acceptPause)
			continue
		}
		select {
		case s.slots <- struct{}{}:
			s.conns.Go(func() {
				defer func() { <-s.slots }()
				s.talk(ctx, conn)
			})
		default:
			conn.Close() // the newest over the bound
		}
	}
}

// talk answers one connection, whose peer may send anything.
func (s *server) talk(ctx context.Context, c net.Conn) {
	defer c.Close()
	conn := &patient{Conn: c}
	defer context.AfterFunc(ctx, conn.hurry)()
	r := bufio.NewReaderSize(conn, maxLine)
	w := bufio.NewWriter(conn)
	defer w.Flush()
	for {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			answer(w, "ERROR line too long")
		}
		if err != nil || !s.execute(w, line) {
			return
		}
		// Requests that came together are answered together.
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
	}
}
