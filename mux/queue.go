package mux

import "time"

// tenant is what has frames to send on a tuple: a Conn or a relayed one. Session.mu
// is held for all of its methods.
type tenant interface {
	// sendControl sends the control frames that may go, and returns false if there
	// is no room.
	sendControl(x *sender) bool
	// nextData returns the payload of the next data frame, in bytes and at most
	// most; false: there is none that may go.
	nextData(most int) (int, bool)
	// sendData sends a data frame of n bytes, and returns false if there is no room.
	sendData(x *sender, n int) bool
	// expire ends a tuple that has lingered or waited long enough.
	expire()
}

// lane is what a tuple needs to stand in the queues of its session. A tenant has its
// lane in it, with a node for each queue it may stand in, so queueing allocates
// nothing and leaving from the middle costs nothing.
type lane struct {
	key    tuple
	tenant tenant
	share  share

	inControl, inData, inTimed node
	until                      time.Time // in inTimed's queue
}

// init makes l the lane of t.
func (l *lane) init(k tuple, t tenant) {
	l.key, l.tenant = k, t
	l.inControl.lane, l.inData.lane, l.inTimed.lane = l, l, l
}

// queue is a list of lanes in the order they came.
type queue struct {
	head, tail *node
	n          int
}

type node struct {
	lane       *lane
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

// expire ends the tuples whose time has come: q is in the order of that.
func (q *queue) expire(now time.Time) {
	for nd := q.head; nd != nil && !nd.lane.until.After(now); nd = q.head {
		nd.lane.tenant.expire()
	}
}

// rotate puts the head at the end.
func (q *queue) rotate() {
	if nd := q.head; nd != q.tail {
		nd.leave()
		q.push(nd)
	}
}
