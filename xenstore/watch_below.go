package xenstore

import (
	"bytes"
	"context"
)

// maxChildren is how many changed children a Watch keeps the names of.
const maxChildren = 1024

// WatchBelow is Watch for a directory that has many children: TakeChanged says at
// which of them there is something to look at.
func (c *Client) WatchBelow(ctx context.Context, path string) (*Watch, error) {
	return c.watch(ctx, &Watch{
		client: c, path: path, changed: make(chan struct{}, 1), below: &children{all: true},
	})
}

// TakeChanged returns the names of the children of the watched node that have
// changed since the last call, or below which something has, each once; or that
// it may be any of them, so that the user looks at all. That is so at the first
// call, when a node above the watched one has changed, when there were too many to
// keep, and when the connection has ended. What is read after the call is at least
// as new as what it returned; a later change leaves a value in Changed.
//
// The name "" is the watched node itself: it was made or removed, its value or its
// permissions have changed, or there is no telling, because the kernel has set the
// watch anew: it does that on resume, see WatchResume. Of a child that was made or
// removed together with the node its own name may be missing.
//
// A Watch that was not made by WatchBelow always says that it may be any.
func (w *Watch) TakeChanged() (names []string, all bool) {
	w.client.mu.Lock()
	defer w.client.mu.Unlock()
	if w.below == nil {
		return nil, true
	}
	names, all = w.below.take()
	if all || w.client.err != nil {
		return nil, true
	}
	return names, false
}

// children is what has changed below a watched node.
type children struct {
	names []string
	known map[string]bool // the names
	all   bool            // it may be any
}

// note notes an event: what path is said to have changed, to the watch of node.
func (c *children) note(path []byte, node string) {
	if c.all {
		return
	}
	rest, ok := bytes.CutPrefix(path, []byte(node))
	if ok && len(rest) > 0 && node != "/" {
		rest, ok = bytes.CutPrefix(rest, []byte("/"))
	}
	name, _, _ := bytes.Cut(rest, []byte("/"))
	switch {
	case !ok || len(c.names) == maxChildren && !c.known[string(name)]:
		*c = children{all: true}
	case !c.known[string(name)]:
		if c.known == nil {
			c.known = make(map[string]bool)
		}
		c.known[string(name)] = true
		c.names = append(c.names, string(name))
	}
}

// take returns what was noted, and forgets it.
func (c *children) take() (names []string, all bool) {
	names, all = c.names, c.all
	*c = children{}
	return names, all
}
