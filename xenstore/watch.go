package xenstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"xvsock/xen"
)

// closeTimeout bounds how long Watch.Close waits for xenstored.
const closeTimeout = 5 * time.Second

// Watch sees the changes of a node and of all below it. It does not say what
// has changed, nor how often: the user reads again what it needs, as it must
// after a missed or a needless event anyway. One by WatchBelow says where.
type Watch struct {
	client  *Client
	path    string
	token   string
	changed chan struct{}
	skip    bool      // the next event is not passed on; guarded by Client.mu
	below   *children // nil: nobody asks; guarded by Client.mu

	closing  sync.Once
	closeErr error
}

// Watch starts to watch path: a node, which need not exist, or @introduceDomain
// or @releaseDomain. Any number of watches may be on one path. xenstored tells of
// a node only those who may read it or the node above it; the domain's quota for
// watches (128) is shared by all programs in the domain and its kernel.
func (c *Client) Watch(ctx context.Context, path string) (*Watch, error) {
	return c.watch(ctx, &Watch{client: c, path: path, changed: make(chan struct{}, 1)})
}

// WatchResume returns a Watch that fires when the domain has been resumed: after
// a suspend, a restore or a migration, in which the domain's id may have changed
// or not; DomID tells. It fires at no other time but when the connection ends.
//
// It watches a node that does not exist below one that only the toolstack may
// write. Such a watch fires when it is set, and not again until the kernel sets
// all watches anew, which it does on resume (xs_resume in
// drivers/xen/xenbus/xenbus_xs.c). On a connection by socket it never fires:
// that is dom0's.
func (c *Client) WatchResume(ctx context.Context) (*Watch, error) {
	return c.watch(ctx, &Watch{client: c, path: "domid/resumed", changed: make(chan struct{}, 1), skip: true})
}

// DomID is the id of the caller's own domain, as the toolstack wrote it into the
// node "domid".
func (c *Client) DomID(ctx context.Context) (xen.DomID, error) { return c.ReadDomID(ctx, "domid") }

// watch sets w.
func (c *Client) watch(ctx context.Context, w *Watch) (*Watch, error) {
	if err := checkWatchPath(w.path); err != nil {
		return nil, &Error{Op: OpWatch, Path: w.path, Err: err}
	}
	// The first event may come before the answer.
	c.mu.Lock()
	w.token = c.newToken()
	c.watches[w.token] = w
	c.mu.Unlock()
	_, err := c.call(ctx, &request{
		op: OpWatch, payload: AppendStrings(nil, w.path, w.token),
		undo: func([]byte) {
			c.spawn(func() { c.call(context.Background(), w.unwatch()) })
		},
	})
	if err != nil {
		w.forget()
		return nil, &Error{Op: OpWatch, Path: w.path, Err: err}
	}
	return w, nil
}

// Watches returns how many watches are set.
func (c *Client) Watches() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.watches)
}

// Path is what is watched.
func (w *Watch) Path() string { return w.path }

// Changed receives a value after one or more changes. The first comes at once,
// when the watch is set; the last when the connection ends. It has room for one
// value and is never closed.
func (w *Watch) Changed() <-chan struct{} { return w.changed }

// Close ends the watch. It waits for xenstored to give the quota back, but not
// for ever; a connection that has ended is no error. A second call does nothing.
func (w *Watch) Close() error {
	w.closing.Do(func() {
		w.forget()
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		err := w.client.detached(ctx, w.unwatch())
		if err != nil && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrLost) {
			w.closeErr = &Error{Op: OpUnwatch, Path: w.path, Err: err}
		}
	})
	return w.closeErr
}

// unwatch is the request that ends w.
func (w *Watch) unwatch() *request {
	return &request{op: OpUnwatch, payload: AppendStrings(nil, w.path, w.token)}
}

// forget makes later events of w go nowhere.
func (w *Watch) forget() {
	w.client.mu.Lock()
	defer w.client.mu.Unlock()
	delete(w.client.watches, w.token)
}

// fire leaves a value in Changed. It never blocks.
func (w *Watch) fire() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// event passes a WATCH_EVENT on: a path, a token, and in newer protocols perhaps
// more.
func (c *Client) event(payload []byte) error {
	path, rest, ok := bytes.Cut(payload, []byte{0})
	token, _, ended := bytes.Cut(rest, []byte{0})
	if !ok || !ended {
		return fmt.Errorf("%w: malformed watch event", ErrProtocol)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.watches[string(token)]
	switch {
	case w == nil:
		c.dropped.Add(1)
	case w.skip:
		w.skip = false
	default:
		if w.below != nil {
			w.below.note(path, w.path)
		}
		w.fire()
	}
	return nil
}
