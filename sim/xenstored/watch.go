package xenstored

import (
	"slices"
	"strings"
	"syscall"

	"xvsock/xenstore"
)

// The special paths that can be watched.
const (
	introduceDomain = "@introduceDomain"
	releaseDomain   = "@releaseDomain"
)

// watch is a watch of one connection.
type watch struct {
	path     string // as the client wrote it
	absolute string
	token    string
}

// eventPath is how an event for path is spelled for w: relative if w is.
func (w *watch) eventPath(path string) string {
	if w.path == w.absolute {
		return path
	}
	base := strings.TrimSuffix(w.absolute, w.path)
	return strings.TrimPrefix(path, base)
}

// addWatch serves WATCH. The answer is sent here, for the first event comes
// after it.
func (c *connection) addWatch(h xenstore.Header, payload []byte) error {
	words, ok := twoStrings(payload)
	if !ok {
		return syscall.EINVAL
	}
	w := &watch{path: words[0], absolute: c.absolute(words[0]), token: words[1]}
	if strings.HasPrefix(w.path, "@") && len(w.path) <= xenstore.MaxRelativePath {
		w.absolute = w.path
	} else if !validPath(w.absolute) {
		return syscall.EINVAL
	}
	for _, other := range c.watches {
		if other.absolute == w.absolute && other.token == w.token {
			return syscall.EEXIST
		}
	}
	if !c.domain.privileged() && c.domain.watches > quotaWatches {
		return syscall.E2BIG
	}
	c.watches = append(c.watches, w)
	c.domain.watches++
	c.reply(h, h.Op, nil)
	c.sendEvent(w.path, w.token)
	return nil
}

// removeWatch serves UNWATCH.
func (c *connection) removeWatch(payload []byte) error {
	words, ok := twoStrings(payload)
	if !ok {
		return syscall.EINVAL
	}
	absolute := c.absolute(words[0])
	i := slices.IndexFunc(c.watches, func(w *watch) bool { return w.absolute == absolute && w.token == words[1] })
	if i < 0 {
		return syscall.ENOENT
	}
	c.watches = slices.Delete(c.watches, i, i+1)
	c.domain.watches--
	return nil
}

// changed fires the watches of a change that v's request has made, or leaves
// them to the commit. n is the node, before its removal if it was removed; old
// are the permissions it had, if they have changed.
func (v view) changed(path string, n *node, exact bool, old []permission) {
	if v.tx == nil {
		v.server.fire(v, path, n, exact, old)
		return
	}
	a := v.tx.accessed[path]
	a.exact = exact && (a.exact || !a.fire)
	a.fire = true
}

// fire sends an event to each watch that matches: with exact, those on path
// itself, else also those above. The connection must be able to read the node,
// as it is or was, or the node above it.
func (s *Server) fire(v view, path string, n *node, exact bool, old []permission) {
	for _, c := range s.connections {
		if !c.seesChange(v, path, n, old) {
			continue
		}
		for _, w := range c.watches {
			if path == w.absolute || !exact && isBelow(path, w.absolute) {
				c.sendEvent(w.eventPath(path), w.token)
			}
		}
	}
}

// seesChange reports whether c's domain may know of a change.
func (c *connection) seesChange(v view, path string, n *node, old []permission) bool {
	if old != nil && rightsOf(c.domain, old)&mayRead != 0 {
		return true
	}
	if n == nil {
		if n = v.server.nodes[path]; n == nil {
			return false
		}
	}
	if rightsOf(c.domain, n.permissions)&mayRead != 0 {
		return true
	}
	parent := v.server.nodes[parentOf(path)]
	return parent != nil && rightsOf(c.domain, parent.permissions)&mayRead != 0
}

// fireSpecial fires the watches on a special path.
func (s *Server) fireSpecial(name string) {
	for _, c := range s.connections {
		if rightsOf(c.domain, s.special[name])&mayRead == 0 {
			continue
		}
		for _, w := range c.watches {
			if w.absolute == name {
				c.sendEvent(name, w.token)
			}
		}
	}
}
