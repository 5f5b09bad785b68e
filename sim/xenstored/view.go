package xenstored

import (
	"slices"
	"syscall"

	"xvsock/xen"
)

// Quotas of unprivileged domains: the defaults of C xenstored 4.17
// (xenstored_core.c). Each compares as the original does, so the number of
// watches and of transactions that a domain can have is one more.
const (
	quotaNodes            = 1000
	quotaWatches          = 128
	quotaTransactions     = 10
	quotaNodeSize         = 2048
	quotaPermissions      = 5
	quotaTransactionNodes = 1024
)

// view is the store as one request sees it: as it is, or in a transaction.
type view struct {
	server *Server
	domain *domain      // who asks
	tx     *transaction // or nil
}

// read returns a node, or nil. In a transaction, what has been read is from then
// on what is seen, and must still be so at the commit.
func (v view) read(path string) *node {
	if v.tx == nil {
		return v.server.nodes[path]
	}
	if a := v.tx.accessed[path]; a != nil {
		return a.node
	}
	n := v.server.nodes[path]
	v.tx.access(v.domain, path, &access{node: n, before: n, check: true})
	return n
}

// write puts a node, or removes it if n is nil.
func (v view) write(path string, n *node) {
	v.server.generation++
	if n != nil {
		n.generation = v.server.generation
	}
	if v.tx == nil {
		v.server.put(path, n)
		return
	}
	a := v.tx.accessed[path]
	if a == nil {
		a = &access{before: v.server.nodes[path]}
		v.tx.access(v.domain, path, a)
	}
	a.node, a.modified = n, true
}

// put changes the tree itself.
func (s *Server) put(path string, n *node) {
	if n == nil {
		delete(s.nodes, path)
		return
	}
	s.nodes[path] = n
}

// count adds to the number of nodes that a domain owns.
func (v view) count(owner xen.DomID, delta int) {
	if v.tx != nil {
		v.tx.counts[owner] += delta
		return
	}
	if d := v.server.domains[owner]; d != nil {
		d.nodes += delta
	}
}

// get returns a node with which the domain may do all of need.
func (v view) get(path string, need rights) (*node, error) {
	if !validPath(path) {
		return nil, syscall.EINVAL
	}
	n := v.read(path)
	err := error(syscall.ENOENT)
	if n != nil {
		if rightsOf(v.domain, n.permissions)&need == need {
			return n, nil
		}
		err = syscall.EACCES
	}
	// Who may not do it with the next node above that exists does not learn
	// whether this one does.
	for above := path; ; {
		above = parentOf(above)
		if parent := v.read(above); parent != nil {
			if rightsOf(v.domain, parent.permissions)&need == 0 {
				return nil, syscall.EACCES
			}
			return nil, err
		}
	}
}

// create makes a node that does not exist, and those above it. It makes all or
// none.
func (v view) create(path string, value []byte) error {
	var missing []string
	above := path
	for ; v.read(above) == nil; above = parentOf(above) {
		missing = append(missing, above)
	}
	slices.Reverse(missing)
	if v.tx != nil {
		v.tx.created = true
	}
	if !v.domain.privileged() && v.domain.nodes+v.countedNow(len(missing)) > quotaNodes {
		return syscall.ENOSPC
	}

	made := make(map[string]*node, len(missing)+1)
	top := v.read(above).copy()
	made[above] = top
	parent := top
	for _, p := range missing {
		parent.children = append(parent.children, nameOf(p))
		n := &node{permissions: slices.Clone(parent.permissions)}
		// A domain owns what it makes; the rest is as above.
		if !v.domain.privileged() {
			n.permissions[0].Domain = v.domain.id
		}
		made[p], parent = n, n
	}
	parent.value = value
	for _, n := range made {
		if err := v.checkSize(n); err != nil {
			return err
		}
	}
	v.write(above, top)
	for _, p := range missing {
		v.write(p, made[p])
		v.count(made[p].owner(), 1)
	}
	return nil
}

// countedNow is how many of n new nodes count against the quota at once: in a
// transaction all but the first count only at its commit.
func (v view) countedNow(n int) int {
	if v.tx != nil {
		return 1
	}
	return n
}

// checkSize holds n to the quota. In a transaction a node that is too large
// spoils the whole.
func (v view) checkSize(n *node) error {
	if v.domain.privileged() || n.size() < quotaNodeSize {
		return nil
	}
	if v.tx != nil {
		v.tx.failed = true
	}
	return syscall.ENOSPC
}

// remove removes a node that exists and is not "/", and all below it. event is
// called for each, before it is gone and its children first, with whether it is
// the one that was asked for.
func (v view) remove(path string, event func(path string, n *node, top bool)) {
	above := parentOf(path)
	parent := v.read(above).copy()
	v.removeTree(path, true, event)
	parent.children = slices.DeleteFunc(parent.children, func(name string) bool { return name == nameOf(path) })
	v.write(above, parent)
}

func (v view) removeTree(path string, top bool, event func(string, *node, bool)) {
	n := v.read(path)
	if n == nil {
		// A transaction has its parent as it was, and somebody else has removed it since:
		// that the transaction has looked makes it fail at its end.
		return
	}
	for _, name := range n.children {
		v.removeTree(childOf(path, name), false, event)
	}
	v.write(path, nil)
	event(path, n, top)
	v.count(n.owner(), -1)
}

// copy is n, to be changed and written.
func (n *node) copy() *node {
	c := *n
	c.children = slices.Clone(n.children)
	c.permissions = slices.Clone(n.permissions)
	return &c
}

// removeOwned removes the nodes of a domain that is gone.
func (s *Server) removeOwned(dom xen.DomID) {
	v := view{server: s, domain: s.domains[0]}
	var walk func(path string)
	walk = func(path string) {
		n := s.nodes[path]
		if n.owner() == dom && path != "/" {
			v.remove(path, func(p string, n *node, top bool) { s.fire(v, p, n, !top, nil) })
			return
		}
		for _, name := range n.children {
			walk(childOf(path, name))
		}
	}
	walk("/")
}

// voidPermissions makes every permission that names a domain void.
func (s *Server) voidPermissions(dom xen.DomID) {
	in := func(n *node) *node {
		c := n.copy()
		c.permissions = void(c.permissions, dom)
		return c
	}
	for path, n := range s.nodes {
		s.nodes[path] = in(n)
	}
	for name, list := range s.special {
		list = void(list, dom)
		if list[0].Domain == dom {
			list[0].Domain = 0
		}
		s.special[name] = list
	}
	for _, c := range s.connections {
		for _, tx := range c.transactions {
			for _, a := range tx.accessed {
				if a.node != nil {
					a.node = in(a.node)
				}
			}
		}
	}
}
