// Package port1 is the messages between a frontend and the connection manager, on
// the connection that the frontend opens to port 1 of its backend (design, section
// 6, "Port 1"; PROTOCOL.md, section 11).
//
//	frontend                 manager                 frontend
//	--------                 -------                 --------
//	HELLO       ----------->
//	            <----------- PEER, once for each peer
//	PEER_ack    ----------->
//	            <----------- HELLO: that was all of them
//
//	initiator                                        responder
//	CONNECT_req ----------->
//	                         CONNECT_ind ----------->
//	                                     <----------- CONNECT_ack
//	            <----------- CONNECT_rsp
//
// Every message is a header of 16 bytes and a body of a fixed layout for its type,
// all little-endian. The layouts stand in header.go, hello.go, peer.go and
// connect.go. Bytes called zero are checked to be zero. Who sent a message is
// decided by the link that it came over; nothing in it names a sender (rule R8).
//
// A parser reads one whole message, as Conn.Read returns it, and returns *Error for
// whatever it does not accept. Nothing that it returns refers to the buffer it was
// given, and a message has one encoding only: what was parsed, appended again,
// gives the same bytes.
package port1

import (
	"xvsock/grant"
	"xvsock/xen"
)

// Version is the only version of the messages.
const Version = 1

// Type says what a message is.
type Type uint16

// The types of messages, and who sends them.
const (
	TypeHello      Type = iota + 1 // frontend, answered by the manager
	TypePeer                       // manager
	TypePeerAck                    // frontend
	TypeConnectReq                 // initiator
	TypeConnectInd                 // manager
	TypeConnectAck                 // responder
	TypeConnectRsp                 // manager
)

// Sizes in bytes.
const (
	HeaderSize = 16
	// MaxSize is the longest message: a PEER with MaxRanges both ways, or a
	// HELLO with MaxLinks.
	MaxSize = 16 << 10
)

// Bounds on what one message may list.
const (
	MaxLinks  = 256 // live peer links in a HELLO
	MaxRanges = 64  // ranges of ports a direction in a PEER
	MaxName   = 128 // bytes of a peer's name
)

// Header begins every message.
type Header struct {
	Length uint32 // of the whole message, a multiple of 8
	Type   Type
	ID     uint64 // of the message; an answer has the id of what it answers
}

// UUID is a domain's, binary; all zero: it has none.
type UUID [16]byte

// Attachment names one attaching of a domain by the toolstack.
type Attachment [16]byte

// Live is a peer link that a frontend has.
type Live struct {
	UUID       UUID       // of the domain at the other end
	Attachment Attachment // the one that it was made under
	Generation uint64
}

// Hello begins the conversation. From the frontend it lists the peer links that it
// has, and may come again whenever that has changed. The manager answers the first
// one by a PEER for each peer and then a Hello without links.
type Hello struct {
	ID    uint64
	Links []Live
}

// Access is how the reader of a peer link's ring gets at it.
type Access uint8

// The access modes.
const (
	AccessCopy Access = iota // by GNTTABOP_copy alone
	AccessMap                // by mapping the pages read-only, if both ends can
)

// Range is ports that may be connected to, and under which rule.
type Range struct {
	First, Last uint32
	Rule        uint64 // names the rule: the same number is the same rule
	Conns       uint32 // open connections of one source under the rule; 0: no limit
	Rate        uint32 // new ones a second; 0: no limit
}

// Peer is what a frontend must know of one other domain, and all that it may do
// with it. It replaces what was said before of the domain with this id.
type Peer struct {
	ID         uint64
	Domain     xen.DomID
	Gone       bool // the domain is gone, or nothing is allowed any more; nothing else is set then
	UUID       UUID
	Attachment Attachment
	Name       string // by the toolstack; for people, at most MaxName bytes
	Access     Access // the most that is allowed
	Ring       uint32 // bytes of a transmit ring; 0: as usual
	Out, In    []Range
}

// PeerAck confirms a Peer: what it forbids has ended.
type PeerAck struct{ ID uint64 }

// Terms are one side's half of a peer link.
type Terms struct {
	Generation uint64    // of the link, the initiator's word
	Header     grant.Ref // of its header page
	Events     xen.Port  // of its transmit ring, allocated for the other side
	Access     Access    // in a request: wanted; in an answer: agreed
}

// ConnectReq asks for a link to a peer, for a connection to a port there.
type ConnectReq struct {
	ID         uint64
	Domain     xen.DomID
	Attachment Attachment // which the initiator knows the peer by
	Port       uint32
	Terms      Terms
}

// ConnectInd tells the responder of it. Its id is the manager's.
type ConnectInd struct {
	ID         uint64
	Domain     xen.DomID // the initiator
	Attachment Attachment
	Port       uint32
	Terms      Terms
}

// Result says how a request came out.
type Result uint32

// The results.
const (
	OK           Result = iota
	Denied              // policy allows other ports there, but not this one
	Unreachable         // no such domain, or policy allows nothing there
	Budget              // the initiator has too many links or requests
	TimedOut            // the responder did not answer
	Crossed             // the peer asks for a link to us: answer that
	Refused             // the responder could not: out of memory, grants, ports, or too soon again
	Forbidden           // the hypervisor forbids it (XSM)
	ShuttingDown        // the responder, or its link to the manager, goes away
	lastResult   = ShuttingDown
)

// ConnectAck is the responder's answer. Terms are set if Result is OK; other
// results that a responder may give are Denied, Refused, Forbidden and
// ShuttingDown.
type ConnectAck struct {
	ID     uint64
	Result Result
	Terms  Terms
}

// ConnectRsp is the manager's answer to the initiator. Terms are the responder's,
// set if Result is OK.
type ConnectRsp struct {
	ID     uint64
	Result Result
	Terms  Terms
}
