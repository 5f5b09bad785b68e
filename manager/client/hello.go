package client

import (
	"time"

	"xvsock/manager/port1"
)

// links lists the links that the manager should know of: those that are up, and those
// that it has brokered and that are about to be. The caller holds mu.
func (c *Client) links() []port1.Live {
	var all []port1.Live
	for _, p := range c.peers {
		if p.claims && (p.link == nil || p.link.Err() == nil) {
			all = append(all, p.live)
		}
	}
	return all
}

// linksChanged has the manager told, a little later, that there are other links than
// before. The caller holds mu.
func (c *Client) linksChanged() {
	t := c.talk
	if t == nil || t.telling {
		return
	}
	t.telling = true
	time.AfterFunc(helloPause, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		t.telling, t.due = false, true
		t.sayHello()
	})
}

// sayHello sends the HELLO that is due, unless a request is not answered: the manager
// may have made that link by now, and would read that it is not there. The caller
// holds Client.mu.
func (t *talk) sayHello() {
	if !t.due || t.c.talk != t || len(t.reqs) > 0 {
		return
	}
	t.due = false
	t.send(port1.Hello{ID: t.c.nextID(), Links: t.c.links()})
}
