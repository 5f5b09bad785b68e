// Package afvsock lets unmodified programs of the domain reach other domains through
// the kernel's own AF_VSOCK sockets: it switches packets between the kernel, at one
// vhost instance a peer, and the links.
package afvsock
