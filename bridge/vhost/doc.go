// Package vhost plays the guest's side of one /dev/vhost-vsock: what the kernel takes
// for a virtual machine with a CID is this process. Programs that connect to the CID,
// and that listen for connections from it, use ordinary AF_VSOCK sockets.
//
//	program --AF_VSOCK socket-- kernel --receive queue--> Receive --> this process
//	                                   <--send queue----- Send   <--
//
// The kernel moves packets, one virtio_vsock_hdr and its payload each, through two
// split virtqueues (uapi/linux/virtio_ring.h) in memory of this process. It does so
// in a worker of its own, one for each instance, and keeps no packet back for long:
// a socket's credit bounds what is under way to it, so that a program that does not
// read stops its connection and no other.
//
// The kernel could do with this process what it likes; it is not trusted to be free of
// bugs. What it writes is read once and checked, and an index or a length that cannot
// be ends the instance (rules R2, R3 and R5).
//
// An instance costs some 20 KiB here after its first packet, 0.3 MiB and a worker in
// the kernel, six descriptors, and two goroutines that wait. Buffers take memory as
// they are used, 1.3 MiB when all were at some time.
package vhost
