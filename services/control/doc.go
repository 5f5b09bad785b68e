// Package control is the service on port 4: orders of the toolstack to a service
// domain. Messages are those of package varlink; the interface is described by the
// text Interface. What the orders do is the daemon's (Domain); the same methods
// serve at the daemon's own control socket (Methods).
//
// Who is asking is told by the link that the connection came in on. The orders are
// for callers that Config.Allow accepts, the backend's domain and domain 0, and of
// those only for root: any program may speak as its domain, but only root from a
// source port below 1024. Everybody else gets PermissionDenied to whatever they ask,
// and can take no place from those that are allowed.
package control
