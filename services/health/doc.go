// Package health is the service on port 3: is the domain well, and each of its
// services. The words are those of grpc.health.v1, the messages those of package
// varlink; the interface is described by the text Interface, which the server
// also sends.
//
// Who is asking is told by the link that the connection came in on. A caller is
// told of what it may reach by policy (Config.Visible): a service that it may not
// reach is SERVICE_UNKNOWN like one that is not there, and has no part in how the
// whole domain is for that caller.
package health
