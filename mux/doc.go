// Package mux carries many connections over one link between two domains.
//
// The protocol is virtio-vsock's (OASIS VIRTIO 1.2, section 5.10; Linux
// uapi/linux/virtio_vsock.h) in a frame without CIDs: who is speaking is
// decided by the link a frame came in on. A connection is a pair of ports. It
// begins with REQUEST and RESPONSE, carries RW in both directions under the
// credit of its receiver, is half-closed by SHUTDOWN and ended by RST, which
// nothing answers.
//
// The other side is not trusted. A frame that lies about itself (type, op,
// length, sequence, flags) loses the link. A frame that lies about its
// connection (credit, state) loses that connection. Everything the other side
// can make grow is bounded: the tuples, the receive memory (Budget), and the
// answers that wait for room in the ring.
//
// A connection ends here, in a Conn, or is relayed: its other end is a socket of the
// domain's kernel, say, behind a Relay. What the other side says of a relayed
// connection is checked and handed on frame by frame (Relay.Deliver), and what the
// local end says goes into the ring in its order (Session.Send). The session holds a
// tuple of it, under the same rules, and no byte. A Relay that has no room leaves a
// frame in the ring: what follows waits with it, and nothing else does.
//
// Who may connect is the user's to say (Config.Permit), and to say again when the
// rules have changed (Session.Review): a tuple holds its Permit from before it is
// made until it is gone.
//
// A Session has one goroutine, the pump, which is the caller of Run. It
// receives frames, keeps all timers, and never waits for a connection. While the
// other side acts so soon that sleeping does not pay, whoever waits in Read or
// Write does that work itself (duty). Writers put their frames into the ring
// themselves; when the ring is full they queue, and whoever finds room next sends
// for them in turn.
package mux
