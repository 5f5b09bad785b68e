package xenstored

import (
	"strconv"
	"syscall"

	"xvsock/xen"
	"xvsock/xenstore"
)

// transaction is an open transaction. There is no copy of the store: what it has
// touched is kept, the rest is seen as it is. It conflicts if something that it
// has read first is not what it was, by its generation.
type transaction struct {
	accessed map[string]*access
	order    []string // of accessed, as they were touched first
	counts   map[xen.DomID]int
	created  bool // a node was made
	failed   bool // it cannot be committed
}

// access is a node that a transaction has touched.
type access struct {
	node     *node // as the transaction sees it, nil if it does not exist
	before   *node // as it was when it was touched first
	check    bool  // it was read before it was written
	modified bool

	fire  bool // watches fire at the commit
	exact bool // only those on the node itself
}

// access adds a node that was not touched before.
func (tx *transaction) access(d *domain, path string, a *access) {
	if !d.privileged() && len(tx.accessed) >= quotaTransactionNodes {
		tx.failed = true
	}
	tx.accessed[path] = a
	tx.order = append(tx.order, path)
}

// startTransaction serves TRANSACTION_START.
func (c *connection) startTransaction(v view) ([]byte, error) {
	if v.tx != nil {
		return nil, syscall.EBUSY
	}
	if !c.domain.privileged() && c.domain.transactions > quotaTransactions {
		return nil, syscall.ENOSPC
	}
	for c.lastTransaction++; c.lastTransaction == 0 || c.transactions[c.lastTransaction] != nil || c.stale[c.lastTransaction]; {
		c.lastTransaction++
	}
	c.server.generation++
	c.transactions[c.lastTransaction] = &transaction{
		accessed: make(map[string]*access), counts: make(map[xen.DomID]int),
	}
	c.domain.transactions++
	return xenstore.AppendStrings(nil, strconv.FormatUint(uint64(c.lastTransaction), 10)), nil
}

// endTransaction serves TRANSACTION_END.
func (c *connection) endTransaction(v view, id uint32, payload []byte) error {
	verdict, ok := oneString(payload)
	if !ok || verdict != "T" && verdict != "F" {
		return syscall.EINVAL
	}
	if v.tx == nil {
		return syscall.ENOENT
	}
	delete(c.transactions, id)
	c.domain.transactions--
	if verdict == "F" {
		return nil
	}
	return c.commit(v)
}

// commit makes what the transaction did real, or nothing of it.
func (c *connection) commit(v view) error {
	s, tx := c.server, v.tx
	if tx.failed {
		return syscall.ENOMEM
	}
	for owner, delta := range tx.counts {
		d := s.domains[owner]
		if d == nil {
			return syscall.ENOMEM
		}
		if tx.created && !v.domain.privileged() && !d.privileged() && d.nodes+delta >= quotaNodes {
			return syscall.ENOSPC
		}
	}
	for path, a := range tx.accessed {
		if a.check && generationOf(s.nodes[path]) != generationOf(a.before) {
			return syscall.EAGAIN
		}
	}
	for owner, delta := range tx.counts {
		s.domains[owner].nodes += delta
	}
	direct := view{server: s, domain: v.domain}
	for _, path := range tx.order {
		a := tx.accessed[path]
		if !a.modified {
			continue
		}
		direct.write(path, a.node)
		if a.fire {
			var before []permission
			if a.before != nil {
				before = a.before.permissions
			}
			s.fire(direct, path, nil, a.exact, before)
		}
	}
	return nil
}
