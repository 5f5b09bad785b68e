package varlink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

var (
	errTooMany = errors.New("too many outstanding calls")
	// errStreamCut says that the caller stopped sending while a stream was
	// open. The stream has no last reply, so that no other may follow it, but
	// for the error that ends the connection.
	errStreamCut = errors.New("stream cut")
)

// Server serves connections. The zero value is useful; the fields are not
// changed once Serve was called.
type Server struct {
	Limits Limits
	// Log is told of handlers' own errors; nil for silence.
	Log *slog.Logger
	// Pace, if set, is called before each call is answered and may wait: the
	// caller's further calls wait behind it. Its error ends the connection.
	Pace func(ctx context.Context) error
}

// Serve answers the calls of one connection by h, until the peer stops
// sending, breaks a rule, idles for too long, or ctx is done. It closes the
// connection. A peer that breaks a rule gets one error reply. The error says
// why the connection ended, nil if the peer just ended it or idled.
func (s *Server) Serve(ctx context.Context, c net.Conn, h Handler) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	streams, cancelStreams := context.WithCancel(ctx)
	defer cancelStreams()

	limits := s.Limits.withDefaults()
	p := &session{
		server:  s,
		conn:    NewConn(c, limits),
		limits:  limits,
		handler: h,
		started: time.Now(),
		queue:   make(chan message, limits.Outstanding),
		last:    '\n',
	}
	var reader sync.WaitGroup
	defer reader.Wait()
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	reader.Go(func() {
		defer cancelStreams()
		p.receive()
	})
	return p.answer(ctx, streams)
}

// session is one connection being served. Its reader goroutine frames
// messages and queues them; the goroutine of Serve decodes and answers them in
// order. All that grows with the peer's will is the queue, bounded in calls and
// in bytes.
type session struct {
	server  *Server
	conn    *Conn
	limits  Limits
	handler Handler
	started time.Time

	queue       chan message // closed by the reader when it ends
	outstanding atomic.Int64 // calls queued or being answered
	bytes       atomic.Int64 // of those
	answered    atomic.Int64 // time of the last answer, in nanoseconds since started

	// Written by the reader before it closes the queue.
	failure error
	last    byte // end of the last message, or a newline
}

type message struct {
	data []byte
	end  byte
}

// receive is the reader goroutine.
func (p *session) receive() {
	defer close(p.queue)
	for {
		if err := p.idle(); err != nil {
			p.failure = err
			return
		}
		data, end, err := p.conn.Receive()
		if err != nil {
			p.failure = err
			return
		}
		p.last = end
		if !p.enqueue(message{data, end}) {
			p.failure = errTooMany
			return
		}
	}
}

// idle waits for the next message to begin. A connection with a call
// outstanding is not idle.
func (p *session) idle() error {
	since := time.Now()
	for {
		err := p.conn.Wait(since.Add(p.limits.Idle))
		if !errors.Is(err, ErrTimeout) {
			return err
		}
		answered := p.started.Add(time.Duration(p.answered.Load()))
		switch {
		case p.outstanding.Load() > 0:
			since = time.Now()
		case answered.After(since):
			since = answered
		default:
			return io.EOF
		}
	}
}

func (p *session) enqueue(m message) bool {
	if p.outstanding.Add(1) > int64(p.limits.Outstanding) ||
		p.bytes.Add(int64(len(m.data))) > int64(p.limits.OutstandingBytes) {
		return false
	}
	p.queue <- m // has room: outstanding calls are bounded by its capacity
	return true
}

// answer answers queued calls until the reader has ended and the queue is
// empty, or an answer cannot be sent.
func (p *session) answer(ctx, streams context.Context) error {
	for m := range p.queue {
		err := p.call(ctx, streams, m)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == errStreamCut {
			break
		}
		if err != nil {
			return err
		}
		p.bytes.Add(-int64(len(m.data)))
		p.answered.Store(int64(time.Since(p.started)))
		p.outstanding.Add(-1)
	}
	switch err := p.failure; {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == io.EOF:
		return nil
	case errors.Is(err, ErrTooLarge), errors.Is(err, ErrTimeout), errors.Is(err, errTooMany), err == io.ErrUnexpectedEOF:
		return cmp.Or(p.refuse(err, p.last), err)
	default:
		return fmt.Errorf("receive: %w", err)
	}
}

// call answers one call. The error ends the connection.
func (p *session) call(ctx, streams context.Context, m message) error {
	req, err := parseRequest(m.data)
	if err != nil {
		return cmp.Or(p.refuse(err, m.end), err)
	}
	if p.server.Pace != nil {
		if err := p.server.Pace(ctx); err != nil {
			return fmt.Errorf("pace: %w", err)
		}
	}
	call := &Call{Method: req.Method, More: req.More, parameters: req.Parameters}
	var lost error // why a reply of the stream could not be sent
	call.send = func(r reply) error {
		if lost == nil {
			lost = p.conn.Send(r, m.end)
		}
		return lost
	}
	if req.More {
		ctx = streams
	}
	result, err := p.handler.ServeCall(ctx, call)
	if lost != nil {
		return fmt.Errorf("send: %w", lost)
	}
	if req.More && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return errStreamCut
	}
	if result == nil {
		result = struct{}{}
	}
	if err == nil {
		err = p.conn.Send(reply{Parameters: result}, m.end)
		if !errors.Is(err, ErrTooLarge) {
			return err
		}
	}
	return p.conn.Send(p.errorReply(req.Method, err), m.end)
}

// errorReply is what the caller is told of a handler's error.
func (p *session) errorReply(method string, err error) reply {
	var e *Error
	if !errors.As(err, &e) {
		if p.server.Log != nil {
			p.server.Log.Error("call failed", "method", method, "error", err)
		}
		e = &Error{Name: Internal}
	}
	if len(e.Parameters) == 0 {
		return reply{Error: e.Name}
	}
	return reply{Error: e.Name, Parameters: e.Parameters}
}

// refuse sends the one error reply before the connection ends.
func (p *session) refuse(err error, end byte) error {
	return p.conn.Send(reply{Error: protocolError(err).Name}, end)
}
