package daemon

import (
	"bytes"
	"cmp"
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"xvsock/services"
	"xvsock/services/varlink"
	"xvsock/vsock"
)

// MaxPing is the most bytes that one ping moves.
const MaxPing = 1 << 30

// ping answers MethodPing.
func (c *controlSocket) ping(ctx context.Context, call *varlink.Call) (any, error) {
	var args PingArgs
	if err := call.Decode(&args); err != nil {
		return nil, err
	}
	if args.Bytes < 1 || args.Bytes > MaxPing {
		return nil, varlink.Invalid("bytes")
	}
	port := cmp.Or(args.Port, services.PortEcho)
	if !services.ValidPort(port) {
		return nil, varlink.Invalid("port")
	}
	to, err := c.role.target(args.Domain)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	if err := c.echo(ctx, vsock.Addr{CID: to.cid, Port: port}, args.Bytes); err != nil {
		return nil, failed(fmt.Errorf("%s of %q: %w", services.FormatPort(port), args.Domain, err))
	}
	return PingReply{Bytes: args.Bytes, Seconds: time.Since(start).Seconds()}, nil
}

// minPingRate is the fewest bytes a second that a ping may move, so that a peer
// that trickles cannot hold one for ever.
const minPingRate = 256 << 10

// PingTime is the most that a ping of n bytes takes before it fails.
func PingTime(n int64) time.Duration {
	return 2*queryTimeout + time.Duration(n)*time.Second/minPingRate
}

// Errors of a ping: what the peer made of the bytes.
var (
	errOther  = errors.New("other bytes came back than were sent")
	errMore   = errors.New("more bytes came back than were sent")
	errFewer  = errors.New("fewer bytes came back than were sent")
	errStalls = errors.New("no answer in time")
)

// echo sends n random bytes to a port and compares what comes back.
func (c *controlSocket) echo(ctx context.Context, to vsock.Addr, n int64) error {
	ctx, cancel := context.WithTimeout(ctx, PingTime(n))
	defer cancel()
	conn, err := c.stack.Dial(ctx, to)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	var seed [32]byte
	crand.Read(seed[:]) // never fails (crypto/rand)
	var sender sync.WaitGroup
	sender.Go(func() {
		// Whatever goes wrong here, the comparison sees less than it wants.
		if _, err := io.CopyN(deadlined{conn}, rand.NewChaCha8(seed), n); err == nil {
			conn.CloseWrite()
		}
	})
	err = compare(deadlined{conn}, rand.NewChaCha8(seed), n)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: not even %d KiB a second: %w", errStalls, minPingRate>>10, err)
	}
	conn.Close()
	sender.Wait()
	return err
}

// compare reads from got until its end and checks that it gives the same n bytes
// as want.
func compare(got, want io.Reader, n int64) error {
	a, b := make([]byte, 16<<10), make([]byte, 16<<10)
	for at := int64(0); ; {
		k, err := got.Read(a)
		if at+int64(k) > n {
			return fmt.Errorf("%w: at least %d of %d", errMore, at+int64(k), n)
		}
		if _, err := io.ReadFull(want, b[:k]); err != nil {
			return err
		}
		if !bytes.Equal(a[:k], b[:k]) {
			return fmt.Errorf("%w: the first %d of %d were right", errOther, at, n)
		}
		at += int64(k)
		switch {
		case err == nil:
		case errors.Is(err, io.EOF) && at == n:
			return nil
		case errors.Is(err, io.EOF):
			return fmt.Errorf("%w: %d of %d", errFewer, at, n)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("%w: nothing for %v after %d of %d bytes", errStalls, queryTimeout, at, n)
		default:
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
