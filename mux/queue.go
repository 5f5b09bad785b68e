package mux

// queue is a list of connections in the order they came. A connection carries
// its own node for each queue it may stand in, so queueing allocates nothing
// and leaving from the middle costs nothing.
type queue struct {
	head, tail *node
	n          int
}

type node struct {
	conn       *Conn
	prev, next *node
	in         *queue // nil: stands in none
}

// push puts nd at the end; a node that stands in the queue keeps its place.
func (q *queue) push(nd *node) {
	if nd.in != nil {
		return
	}
	nd.in, nd.prev, nd.next = q, q.tail, nil
	if q.tail != nil {
		q.tail.next = nd
	} else {
		q.head = nd
	}
	q.tail = nd
	q.n++
}

// leave takes the node out of the queue it stands in, if any.
func (nd *node) leave() {
	q := nd.in
	if q == nil {
		return
	}
	if nd.prev != nil {
		nd.prev.next = nd.next
	} else {
		q.head = nd.next
	}
	if nd.next != nil {
		nd.next.prev = nd.prev
	} else {
		q.tail = nd.prev
	}
	nd.in, nd.prev, nd.next = nil, nil, nil
	q.n--
}

// rotate puts the head at the end.
func (q *queue) rotate() {
	if nd := q.head; nd != q.tail {
		nd.leave()
		q.push(nd)
	}
}
