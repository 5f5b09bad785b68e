package xenstore_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"xvsock/xenstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// daemon is a xenstored that does what a test says.
type daemon struct {
	*testing.T
	net.Conn
	requests chan message
}

type message struct {
	xenstore.Header
	payload string
}

// newDaemon starts a client of a scripted daemon. It must be called in a
// synctest bubble; both ends are closed before the bubble ends.
func newDaemon(t *testing.T, config xenstore.Config) (*daemon, *xenstore.Client) {
	ours, theirs := net.Pipe()
	d := &daemon{T: t, Conn: theirs, requests: make(chan message, 64)}
	c := xenstore.New(ours, config)
	t.Cleanup(func() {
		theirs.Close()
		c.Close()
	})
	go d.readRequests()
	return d, c
}

func (d *daemon) readRequests() {
	defer close(d.requests)
	header := make([]byte, xenstore.HeaderSize)
	for {
		if _, err := io.ReadFull(d.Conn, header); err != nil {
			return
		}
		h, err := xenstore.ParseHeader(header)
		if err != nil {
			d.Error(err)
			return
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(d.Conn, payload); err != nil {
			return
		}
		d.requests <- message{h, string(payload)}
	}
}

// expect takes the next request, which has to be op with payload.
func (d *daemon) expect(op xenstore.Op, payload string) message {
	d.Helper()
	r := <-d.requests
	if r.Op != op || r.payload != payload {
		d.Fatalf("request is %v %q, want %v %q", r.Op, r.payload, op, payload)
	}
	return r
}

// idle checks that no request has come.
func (d *daemon) idle() {
	d.Helper()
	synctest.Wait()
	select {
	case r := <-d.requests:
		d.Fatalf("request %v %q", r.Op, r.payload)
	default:
	}
}

func (d *daemon) send(op xenstore.Op, id uint32, payload string) {
	d.Helper()
	b := xenstore.AppendMessage(nil, xenstore.Header{Op: op, RequestID: id}, []byte(payload))
	if _, err := d.Write(b); err != nil {
		d.Error(err)
	}
}

func (d *daemon) reply(r message, payload string) { d.Helper(); d.send(r.Op, r.RequestID, payload) }

func (d *daemon) refuse(r message, name string) {
	d.Helper()
	d.send(xenstore.OpError, r.RequestID, name+"\x00")
}

// result is what a call that runs in the background returned.
type result struct {
	value string
	err   error
}

// reading starts to read a node.
func reading(ctx context.Context, c *xenstore.Client, path string) <-chan result {
	out := make(chan result, 1)
	go func() {
		value, err := c.Read(ctx, path)
		out <- result{value, err}
	}()
	return out
}

// doing runs f in the background.
func doing(f func() error) <-chan error {
	out := make(chan error, 1)
	go func() { out <- f() }()
	return out
}

func wantError(t *testing.T, err error, wants ...error) {
	t.Helper()
	for _, want := range wants {
		if !errors.Is(err, want) {
			t.Fatalf("error is %v, want %v", err, want)
		}
	}
}

func want[T comparable](t *testing.T, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("got %v, want %v", got, want)
	}
}
