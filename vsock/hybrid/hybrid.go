// Package hybrid is what is spoken at the unix socket before a connection begins: the
// hybrid-vsock dialect.
package hybrid
