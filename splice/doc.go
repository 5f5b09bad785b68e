// Package splice joins a peer's connection to one of a program in the domain.
//
// Both directions are carried, and each ends by itself: half-close is carried through,
// and a direction that its reader has shut is shut for its writer. An end is an end
// only if whoever speaks has made it; all else is a loss, and a loss at one side is one
// at the other, so that nobody takes a part for the whole: a reset of a vsock.Conn, RST
// of TCP. A unix socket can say no more than that it is closed, which its program reads
// as an end.
//
// Nothing is allocated for a message, no timer is set for one, and what is not taken is
// not stored: two buffers are all that a Pair holds, besides three goroutines and at
// most two more that wait for a program to hang up.
package splice
