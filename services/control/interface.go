package control

import (
	"errors"

	"xvsock/services/varlink"
)

// The methods of the interface.
const (
	iface          = "org.xvsock.Domain"
	MethodStatus   = iface + ".Status"
	MethodConfig   = iface + ".Config"
	MethodServices = iface + ".Services"
	MethodSetLog   = iface + ".SetLog"
	MethodRestart  = iface + ".Restart"
	MethodShutdown = iface + ".Shutdown"
)

// Name is the name of the interface.
const Name = iface

// Interface describes org.xvsock.Domain in the language of Varlink.
const Interface = `# A service domain, for its toolstack.
interface org.xvsock.Domain

# A key of the configuration. origin is where its values came from.
type Value (key: string, values: []string, origin: string)

# state is SERVING or NOT_SERVING. error is why the service ended last, and since
# when it is in its state.
type ServiceStatus (
  name: string,
  port: int,
  state: string,
  starts: int,
  panics: int,
  error: ?string,
  since: ?string
)

# How the domain is, in the form of the daemon's own status.
method Status() -> (status: object)

# What the domain was told, and what was wrong with it. A key may come in several
# entries. With more, in several replies; without, the error ExpectedMore says that
# it does not fit in one.
method Config() -> (values: []Value, problems: []string)

# The supervised services; with more as in Config.
method Services() -> (services: []ServiceStatus)

# level is debug, info, warn or error.
method SetLog(level: string) -> ()

# Ends a service, which is started again at once.
method Restart(service: string) -> ()

# Ends the domain; answered before it does.
method Shutdown(reboot: bool) -> ()

error ServiceNotFound ()
# This domain cannot do that, such as to shut down where it is not its PID 1.
error NotSupported ()
`

// The errors of the interface, for errors.Is.
var (
	ErrServiceNotFound = &varlink.Error{Name: iface + ".ServiceNotFound"}
	ErrNotSupported    = &varlink.Error{Name: iface + ".NotSupported"}
	ErrDenied          = &varlink.Error{Name: varlink.PermissionDenied}
)

// ErrPeer says that the other side's answer breaks a rule of the interface.
var ErrPeer = errors.New("bad answer of control")
