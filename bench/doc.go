// Package bench measures stream connections: how long a round trip takes, how much
// goes through, how many connections share a way and how fairly, how fast they are
// made. It knows nothing of Xen: the server takes a net.Listener, the client a Dial
// function, so that one driver measures our links, AF_UNIX sockets and anything else
// in the same way.
//
// # What is said
//
// The client says in the first 16 bytes of a connection what it is:
//
//	"xvb1"     4 bytes
//	kind       1 byte: 1 echo, 2 sink, 3 source
//	0          3 bytes
//	size       4 bytes, little endian: bytes of a message, 1 to MaxSize
//	seconds    4 bytes, little endian: how long the connection lasts at most, 1 to 1000
//
// The server answers with one byte, 0 for yes or 1 if it has no memory left for it, and
// closes a connection that says anything else. From then on
//
//	echo       sends back each message when it has come whole
//	sink       counts bytes; at their end it says how many and how long they took from
//	           the first to the end, in nanoseconds, 8 bytes each, and closes
//	source     sends messages until it is closed
//
// What a server says that it has counted is its word. A client compares the bytes with
// what it has sent; the time it cannot know better.
//
// # Clocks
//
// In a PV guest of Xen a reading of the clock may be a system call that takes longer than
// what is measured. So neither side sets a deadline for a message or reads the clock
// more than once for one: a round trip takes one reading, those of a lot
// (Plan.Lot) one together, a stream two in all. What bounds the waiting is a timer
// beside the connection.
package bench
