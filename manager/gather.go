package manager

// hidden reports whether a frontend is not to learn that another is attached, of
// which it claims to have a link: nothing is allowed between them, and it does not
// prove by the other's attachment that it was told of it once. Else whoever knows a
// uuid could ask for its domain. The caller holds mu.
func (f *frontend) hidden(other *frontend, h held) bool {
	return h.attachment != other.attachment && !f.m.statementOf(f.id, other.id).there
}

// complete reports whether the manager's HELLO may say that all peers were named.
// The frontend gives up the links to those that were not. After the manager was
// started, and while the toolstack moves everybody to it from another, there are
// some that it does not know yet: it waits until it has looked at all devices once,
// and until every domain to which the frontend has a link is attached here too, but
// not for ever. One that is hidden is waited for as one that is not attached. The
// caller holds mu.
func (c *conversation) complete() bool {
	if !c.m.scanned {
		return false
	}
	if c.late {
		return true
	}
	for l, h := range c.f.claims {
		if other := c.m.otherEnd(l, h); !h.dropped && (other == nil || c.f.hidden(other, h)) {
			return false
		}
	}
	return true
}

// giveUpGathering ends the wait for peers that are not attached.
func (c *conversation) giveUpGathering() {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	c.late = true
	c.rouse()
}
