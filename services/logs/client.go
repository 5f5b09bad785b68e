package logs

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"net"
	"time"

	"xvsock/services/varlink"
)

const (
	replyTime = 10 * time.Second // for the first reply, unless the context or the limits say otherwise
	readTime  = 30 * time.Second // for a read that does not follow, at most
)

// Client reads a log over one connection, one call at a time. An error reply is
// yielded as a *varlink.Error, for errors.Is with the errors of this package; an answer
// that breaks a rule as an error that wraps ErrPeer or varlink.ErrMalformed, and then
// nothing of it is used. What lines say is the domain's word, and fit to be shown.
type Client struct{ varlink varlink.Caller }

// NewClient returns a client that owns the connection.
func NewClient(conn net.Conn, l varlink.Limits) *Client {
	l.Idle = cmp.Or(l.Idle, replyTime)
	return &Client{varlink.NewClient(conn, l)}
}

// Over returns a client whose calls c makes.
func Over(c varlink.Caller) *Client { return &Client{c} }

// Close closes the connection.
func (c *Client) Close() error { return c.varlink.Close() }

// Read yields lines as they come: those that are kept, and with Follow those that are
// logged from then on, for as long as ctx allows. An error is yielded last. The client
// can make no other call until the loop is left, and none after if it was left early.
func (c *Client) Read(ctx context.Context, r Request) iter.Seq2[Batch, error] {
	return func(yield func(Batch, error) bool) {
		if !r.Follow {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, readTime)
			defer cancel()
		}
		k := checker{request: r}
		for raw, err := range c.varlink.Stream(ctx, MethodRead, r) {
			var b Batch
			if err == nil {
				err = varlink.UnmarshalGrowing(raw, &b)
			}
			if err == nil {
				err = k.check(b)
			}
			if err != nil {
				yield(Batch{}, err)
				return
			}
			if !yield(b, nil) {
				return
			}
		}
	}
}

// checker holds the replies to a Read against the rules.
type checker struct {
	request  Request
	replies  int
	lines    uint64
	position uint64 // where the last reply ended
}

func (k *checker) check(b Batch) error {
	k.replies++
	k.lines += uint64(len(b.Lines))
	switch {
	case k.request.Limit > 0 && k.lines > uint64(k.request.Limit), !k.request.Follow && k.lines > MaxLines:
		return fmt.Errorf("%w: %d lines", ErrPeer, k.lines)
	// Only the first reply may bring nothing: such might have no end.
	case k.replies > 1 && (len(b.Lines) == 0 && b.Lost == 0 || b.Position <= k.position):
		return fmt.Errorf("%w: reply that does not go on", ErrPeer)
	}
	for _, l := range b.Lines {
		if l.Position < k.position || l.Position >= b.Position {
			return fmt.Errorf("%w: line %d out of place", ErrPeer, l.Position)
		}
		k.position = l.Position + 1
		if l.T < 0 || l.T > maxTime || !showable([]byte(l.Text)) || len(l.Level.String()) > maxLevel {
			return fmt.Errorf("%w: line %d not fit to be shown", ErrPeer, l.Position)
		}
	}
	k.position = b.Position
	return nil
}

const (
	maxLevel = 10   // bytes of a level's text, such as ERROR+1000
	maxTime  = 1e10 // seconds of a domain's life, 300 years
)
