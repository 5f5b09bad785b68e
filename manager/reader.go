package manager

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"xvsock/manager/port1"
)

// read takes the messages. It returns why there are no more.
func (c *conversation) read(ctx context.Context) error {
	for {
		h, msg, err := c.port1.Read()
		switch {
		case errors.Is(err, io.EOF):
			return errEnded
		case err != nil:
			return fmt.Errorf("%w: %w", errEnded, err)
		}
		if err := c.awaitRoom(ctx); err != nil {
			return err
		}
		if err := c.handle(ctx, h, msg); err != nil {
			return err
		}
	}
}

// awaitRoom waits until the writer has sent most of what the frontend has asked
// for.
func (c *conversation) awaitRoom(ctx context.Context) error {
	for {
		c.m.mu.Lock()
		full := len(c.replies) >= maxReplies
		c.m.mu.Unlock()
		if !full {
			return nil
		}
		select {
		case <-c.room:
		case <-c.link.Done():
			return errEnded
		case <-ctx.Done():
			return errEnded
		}
	}
}

// handle does what a message asks for. It returns an error that says that the
// frontend lies, or that the conversation has ended meanwhile.
func (c *conversation) handle(ctx context.Context, h port1.Header, msg []byte) error {
	switch h.Type {
	case port1.TypeHello:
		return c.onHello(ctx, msg)
	case port1.TypePeerAck:
		a, err := port1.ParsePeerAck(msg)
		if err != nil {
			return err
		}
		return c.onPeerAck(a)
	case port1.TypeConnectReq:
		q, err := port1.ParseConnectReq(msg)
		if err != nil {
			return err
		}
		if err := c.charge(ctx); err != nil {
			return err
		}
		return c.m.onConnectReq(c, q)
	case port1.TypeConnectAck:
		a, err := port1.ParseConnectAck(msg)
		if err != nil {
			return err
		}
		return c.m.onConnectAck(c, a)
	}
	return forged("%v is the manager's to send", h.Type)
}

// charge takes a request's token from the frontend's bucket, and waits for it if
// there is none: its own messages wait behind it, nobody else's.
func (c *conversation) charge(ctx context.Context) error {
	for first := true; ; first = false {
		now := time.Now()
		if c.f.bucket.AllowN(now, 1) {
			return nil
		}
		if first {
			c.f.delayed.Add(1)
		}
		short := 1 - c.f.bucket.TokensAt(now)
		c.pause.Reset(time.Duration(short * float64(time.Second) / float64(c.f.bucket.Limit())))
		select {
		case <-c.pause.C:
		case <-c.link.Done():
			return errEnded
		case <-ctx.Done():
			return errEnded
		}
	}
}

// onHello takes the list of the frontend's links. The first one is answered, with
// all there is to know.
func (c *conversation) onHello(ctx context.Context, msg []byte) error {
	hello, err := port1.ParseHello(msg)
	if err != nil {
		return err
	}
	if c.greeted { // only this goroutine sets it
		if err := c.charge(ctx); err != nil {
			return err
		}
	}
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	switch {
	case c.left:
		return errEnded
	case c.greeted:
		c.f.correctClaims(hello.Links)
		return nil
	}
	c.greeted, c.hello = true, &port1.Hello{ID: hello.ID}
	c.f.setClaims(hello.Links)
	c.considerAll()
	c.dropForbidden()
	c.m.compareClaims(c.f)
	c.gather.Reset(gatherTime)
	c.rouse()
	return nil
}
