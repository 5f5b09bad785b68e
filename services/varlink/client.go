package varlink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"sync"
	"time"
)

// clientEnd ends a client's messages, as Varlink has it.
const clientEnd = 0

// Caller makes calls, as a Client does: over a connection of its own, or through
// somebody who passes them on.
type Caller interface {
	Call(ctx context.Context, method string, in, out any) error
	Stream(ctx context.Context, method string, in any) iter.Seq2[json.RawMessage, error]
	Close() error
}

var _ Caller = (*Client)(nil)

// Client makes calls over one connection, one at a time. What the peer answers
// is bounded and checked like what a server is asked.
type Client struct {
	limits Limits

	mu     sync.Mutex
	conn   *Conn
	broken error
}

// NewClient returns a client that owns the connection.
func NewClient(c net.Conn, l Limits) *Client {
	l = l.withDefaults()
	return &Client{limits: l, conn: NewConn(c, l)}
}

// Close closes the connection; a call under way ends with an error.
func (c *Client) Close() error { return c.conn.Close() }

// Call calls a method with the parameters in (marshalled as a JSON object; nil
// for none) and fills what out points to (nil: nothing) by the rules of
// UnmarshalGrowing. An error reply is returned as an *Error and leaves the
// client usable. Any other error, the end of ctx too, closes the connection,
// and later calls give ErrBroken.
func (c *Client) Call(ctx context.Context, method string, in, out any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	stop, err := c.begin(ctx, method, in, false)
	if err != nil {
		return err
	}
	defer stop()
	a, err := c.answer(c.deadline(ctx))
	if err == nil && a.Continues {
		err = fmt.Errorf("%w: stream for a single call", ErrMalformed)
	}
	if err == nil && out != nil && len(a.Parameters) > 0 {
		err = UnmarshalGrowing(a.Parameters, out)
	}
	if err != nil {
		return c.end(ctx, method, err)
	}
	return nil
}

// Reply is one reply of a stream.
type Reply struct {
	Parameters json.RawMessage
	Continues  bool // another one follows
}

// Stream calls a method with more set, and yields the parameters of each
// reply, the last one included. It is Replies for who does not ask which is the
// last.
func (c *Client) Stream(ctx context.Context, method string, in any) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		for r, err := range c.Replies(ctx, method, in) {
			if !yield(r.Parameters, err) {
				return
			}
		}
	}
}

// Replies calls a method with more set, and yields each reply. An error is yielded
// last. The first reply is waited for as in Call, the others for as long as ctx
// allows. To leave the loop before the last reply closes the connection. The client
// is locked for as long as the loop runs: its body makes no call on it.
func (c *Client) Replies(ctx context.Context, method string, in any) iter.Seq2[Reply, error] {
	return func(yield func(Reply, error) bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		stop, err := c.begin(ctx, method, in, true)
		if err != nil {
			yield(Reply{}, err)
			return
		}
		defer stop()
		deadline := c.deadline(ctx)
		for {
			a, err := c.answer(deadline)
			deadline = time.Time{}
			if err != nil {
				yield(Reply{}, c.end(ctx, method, err))
				return
			}
			if !yield(Reply{a.Parameters, a.Continues}, nil) && a.Continues {
				c.end(ctx, method, errors.New("stream left"))
				return
			}
			if !a.Continues {
				return
			}
		}
	}
}

// begin sends the call. Until stop is called, the end of ctx closes the
// connection.
func (c *Client) begin(ctx context.Context, method string, in any, more bool) (stop func(), err error) {
	if c.broken != nil {
		return nil, fmt.Errorf("call %s: %w: %w", method, ErrBroken, c.broken)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("call %s: %w", method, err)
	}
	req := request{Method: method, More: more}
	if in != nil {
		if req.Parameters, err = encode(in); err != nil {
			return nil, fmt.Errorf("call %s: encode parameters: %w", method, err)
		}
	}
	disarm := context.AfterFunc(ctx, func() { c.conn.Close() })
	stop = func() {
		if !disarm() && c.broken == nil {
			c.broken = ctx.Err()
		}
	}
	if err := c.conn.Send(req, clientEnd); err != nil {
		stop()
		if errors.Is(err, ErrTooLarge) {
			return nil, fmt.Errorf("call %s: %w", method, err)
		}
		return nil, c.end(ctx, method, err)
	}
	return stop, nil
}

// answer receives the next reply; an error reply is returned as an *Error.
func (c *Client) answer(deadline time.Time) (answer, error) {
	if err := c.conn.Wait(deadline); err != nil {
		return answer{}, err
	}
	data, end, err := c.conn.Receive()
	if err != nil {
		return answer{}, err
	}
	if end != clientEnd {
		return answer{}, fmt.Errorf("%w: reply ends otherwise than the call", ErrMalformed)
	}
	a, err := parseAnswer(data)
	if err == nil && a.Error != "" {
		err = &Error{Name: a.Error, Parameters: a.Parameters}
	}
	return a, err
}

// end makes an error of a call and, unless it is an error reply, the last word
// of the connection.
func (c *Client) end(ctx context.Context, method string, err error) error {
	var reply *Error
	if errors.As(err, &reply) {
		return fmt.Errorf("call %s: %w", method, reply)
	}
	c.conn.Close()
	if ctx.Err() != nil {
		err = ctx.Err()
	} else if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	c.broken = err
	return fmt.Errorf("call %s: %w", method, err)
}

// deadline is when a reply must have begun.
func (c *Client) deadline(ctx context.Context) time.Time {
	if d, has := ctx.Deadline(); has {
		return d
	}
	return time.Now().Add(c.limits.Idle)
}
