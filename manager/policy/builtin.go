package policy

import "xvsock/services"

// Builtin describes what is allowed without any rule and cannot be forbidden by
// one, for people: attaching is the toolstack's consent to it.
func Builtin() []string {
	return []string{
		"manager,discovery: every frontend to @backend",
		"discovery,health,control,metrics,log: the daemon of @backend, from source ports below 1024, to every frontend",
	}
}

// BuiltinToBackend reports whether a frontend may connect to the port of its
// backend's domain without any rule: it needs the manager to be a frontend at all,
// and discovery answers by policy.
func BuiltinToBackend(port uint32) bool {
	return port == services.PortManager || port == services.PortDiscovery
}

// BuiltinToFrontend reports whether the backend's domain may connect from the
// source port to the port of a frontend without any rule. The kernel gives source
// ports below 1024 to CAP_NET_BIND_SERVICE alone: that is the daemon, for root at its
// control socket. Every other program of the backend's domain needs a rule.
func BuiltinToFrontend(source, port uint32) bool {
	daemon := source != 0 && source < services.PortPrivileged
	return daemon && services.PortDiscovery <= port && port <= services.PortLog
}
