// Command xvsock is virtual sockets between Xen domains in one static binary: as
// PID 1 it is a service domain, called poweroff or reboot it ends that domain,
// otherwise it is the command line.
package main

import "xvsock/launch"

// version is set by the build.
var version = "unreleased"

func main() { launch.Main(launch.Options{Version: version}) }
