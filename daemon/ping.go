package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"xvsock/services"
	"xvsock/services/varlink"
	"xvsock/vsock"
)

// maxPing is the most bytes that one ping moves.
const maxPing = 1 << 30

// ping answers MethodPing.
func (c *control) ping(ctx context.Context, call *varlink.Call) (any, error) {
	var args PingArgs
	if err := call.Decode(&args); err != nil {
		return nil, err
	}
	if args.Bytes < 1 || args.Bytes > maxPing {
		return nil, varlink.Invalid("bytes")
	}
	to, err := c.names(args.Domain)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	if err := c.echo(ctx, to.cid, args.Bytes); err != nil {
		return nil, failed(fmt.Errorf("echo of %q: %w", args.Domain, err))
	}
	return PingReply{Bytes: args.Bytes, Seconds: time.Since(start).Seconds()}, nil
}

// echo sends n random bytes to port 7 of a domain and compares what comes back.
// A domain that stops answering ends it.
func (c *control) echo(ctx context.Context, cid uint32, n int64) error {
	conn, err := c.stack.Dial(ctx, vsock.Addr{CID: cid, Port: services.PortEcho})
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	seed := [32]byte{1: byte(n), 2: byte(n >> 8)}
	sent := make(chan error, 1)
	go func() {
		_, err := io.CopyN(deadlined{conn}, rand.NewChaCha8(seed), n)
		sent <- errors.Join(err, conn.CloseWrite())
	}()
	err = compare(deadlined{conn}, rand.NewChaCha8(seed), n)
	if err != nil {
		conn.Close()
	}
	return errors.Join(err, <-sent)
}

// compare reads from got until its end and checks that it gives the same n bytes
// as want.
func compare(got, want io.Reader, n int64) error {
	a, b := make([]byte, 16<<10), make([]byte, 16<<10)
	var at int64
	for {
		k, err := got.Read(a)
		if at+int64(k) > n {
			return fmt.Errorf("more than the %d bytes that were sent came back", n)
		}
		if _, err := io.ReadFull(want, b[:k]); err != nil {
			return err
		}
		if !bytes.Equal(a[:k], b[:k]) {
			return fmt.Errorf("other bytes came back after %d", at)
		}
		at += int64(k)
		if errors.Is(err, io.EOF) && at == n {
			return nil
		}
		if err != nil {
			return fmt.Errorf("after %d of %d bytes: %w", at, n, err)
		}
	}
}

// deadlined gives every Read and Write of a connection queryTimeout to move
// something (rule R6).
type deadlined struct{ conn *vsock.Conn }

// Read implements io.Reader.
func (d deadlined) Read(p []byte) (int, error) {
	d.conn.SetReadDeadline(time.Now().Add(queryTimeout))
	return d.conn.Read(p)
}

// Write implements io.Writer.
func (d deadlined) Write(p []byte) (int, error) {
	d.conn.SetWriteDeadline(time.Now().Add(queryTimeout))
	return d.conn.Write(p)
}
