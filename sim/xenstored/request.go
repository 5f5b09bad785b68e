package xenstored

import (
	"bytes"
	"strconv"
	"syscall"

	"xvsock/xen"
	"xvsock/xenstore"
)

// serve carries out a request and answers it.
func (c *connection) serve(h xenstore.Header, payload []byte) {
	var err error
	if hook := c.server.hook.Load(); hook != nil {
		err = (*hook)(c.asker(), h.Op, pathIn(h.Op, payload))
	}
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if c.ended {
		return
	}
	var answer []byte
	answered := false
	if err == nil {
		answer, answered, err = c.answer(h, payload)
	}
	switch {
	case answered:
	case err != nil:
		c.reply(h, xenstore.OpError, xenstore.AppendStrings(nil, xenstore.ErrnoName(err)))
	default:
		c.reply(h, h.Op, answer)
	}
}

// asker is the id of the domain that asks.
func (c *connection) asker() xen.DomID {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	return c.domain.id
}

// pathIn is the path that a request is about, for the hook.
func pathIn(op xenstore.Op, payload []byte) string {
	switch op {
	case xenstore.OpTransactionStart, xenstore.OpTransactionEnd, xenstore.OpResetWatches,
		xenstore.OpGetDomainPath, xenstore.OpIsDomainIntroduced:
		return ""
	}
	path, _, _ := bytes.Cut(payload, []byte{0})
	return string(path)
}

// answer carries out a request. A nil answer is "OK". answered says that it has
// already been sent.
func (c *connection) answer(h xenstore.Header, payload []byte) (answer []byte, answered bool, err error) {
	switch h.Op {
	case xenstore.OpWatch:
		err = c.addWatch(h, payload)
		return nil, err == nil, err
	case xenstore.OpUnwatch:
		return nil, false, c.removeWatch(payload)
	}
	v := view{server: c.server, domain: c.domain}
	if h.TransactionID != 0 {
		if v.tx = c.transactions[h.TransactionID]; v.tx == nil {
			return nil, false, c.staleTransaction(h, payload)
		}
	}
	answer, err = c.answerIn(v, h, payload)
	return answer, false, err
}

// staleTransaction answers a request in a transaction that does not exist. Of
// one from before a resume the kernel knows that it did.
func (c *connection) staleTransaction(h xenstore.Header, payload []byte) error {
	if h.Op != xenstore.OpTransactionEnd || !c.stale[h.TransactionID] {
		return syscall.ENOENT
	}
	delete(c.stale, h.TransactionID)
	if verdict, _ := oneString(payload); verdict == "T" {
		return syscall.EAGAIN
	}
	return nil
}

// answerIn carries out a request that may be in a transaction.
func (c *connection) answerIn(v view, h xenstore.Header, payload []byte) ([]byte, error) {
	switch h.Op {
	case xenstore.OpTransactionStart:
		return c.startTransaction(v)
	case xenstore.OpTransactionEnd:
		return nil, c.endTransaction(v, h.TransactionID, payload)
	case xenstore.OpResetWatches:
		c.reset()
		return nil, nil
	case xenstore.OpGetDomainPath:
		return domainPath(payload)
	case xenstore.OpIsDomainIntroduced:
		return c.isIntroduced(payload)
	case xenstore.OpDirectoryPart:
		return c.listPart(v, payload)
	case xenstore.OpSetPerms:
		return nil, c.setPermissions(v, payload)
	case xenstore.OpWrite:
		return nil, c.write(v, payload)
	case xenstore.OpRead, xenstore.OpDirectory, xenstore.OpGetPerms, xenstore.OpMkdir, xenstore.OpRemove:
		path, ok := oneString(payload)
		if !ok {
			return nil, syscall.EINVAL
		}
		return onNode(v, h.Op, c.absolute(path))
	default:
		return nil, syscall.ENOSYS
	}
}

// onNode carries out the requests whose only argument is a node.
func onNode(v view, op xenstore.Op, path string) ([]byte, error) {
	switch op {
	case xenstore.OpMkdir:
		return nil, mkdir(v, path)
	case xenstore.OpRemove:
		return nil, remove(v, path)
	}
	n, err := v.get(path, mayRead)
	if err != nil {
		return nil, err
	}
	switch op {
	case xenstore.OpRead:
		return append([]byte{}, n.value...), nil
	case xenstore.OpDirectory:
		return xenstore.AppendStrings([]byte{}, n.children...), nil
	default:
		answer := []byte{}
		for _, p := range n.permissions {
			answer = xenstore.AppendStrings(answer, p.String())
		}
		return answer, nil
	}
}

// listPart serves DIRECTORY_PART.
func (c *connection) listPart(v view, payload []byte) ([]byte, error) {
	words, ok := twoStrings(payload)
	if !ok {
		return nil, syscall.EINVAL
	}
	n, err := v.get(c.absolute(words[0]), mayRead)
	if err != nil {
		return nil, err
	}
	list := xenstore.AppendStrings(nil, n.children...)
	answer := xenstore.AppendStrings(nil, strconv.FormatUint(n.generation, 10))
	offset, err := xenstore.ParseUint(words[1], uint64(len(list)))
	if err != nil {
		offset = uint64(len(list))
	}
	rest := list[offset:]
	for len(rest) > 0 {
		end := bytes.IndexByte(rest, 0) + 1
		if len(answer)+end > xenstore.MaxPayload-1 {
			return answer, nil
		}
		answer, rest = append(answer, rest[:end]...), rest[end:]
	}
	return append(answer, 0), nil
}

// domainPath serves GET_DOMAIN_PATH. As in C xenstored the id is not checked.
func domainPath(payload []byte) ([]byte, error) {
	id, ok := oneString(payload)
	if !ok {
		return nil, syscall.EINVAL
	}
	return xenstore.AppendStrings(nil, "/local/domain/"+id), nil
}

// isIntroduced serves IS_DOMAIN_INTRODUCED.
func (c *connection) isIntroduced(payload []byte) ([]byte, error) {
	if !c.domain.privileged() {
		return nil, syscall.EACCES
	}
	text, ok := oneString(payload)
	if !ok {
		return nil, syscall.EINVAL
	}
	answer := "F"
	id, err := xen.ParseDomID(text)
	if d := c.server.domains[id]; err == nil && d != nil && d.introduced {
		answer = "T"
	}
	return xenstore.AppendStrings(nil, answer), nil
}

// oneString is the payload of a request with one argument.
func oneString(payload []byte) (string, bool) {
	if i := bytes.IndexByte(payload, 0); i < 0 || i != len(payload)-1 {
		return "", false
	}
	return string(payload[:len(payload)-1]), true
}

// twoStrings is the payload of a request with two arguments.
func twoStrings(payload []byte) ([]string, bool) {
	words, err := xenstore.SplitStrings(payload)
	return words, err == nil && len(words) == 2
}
