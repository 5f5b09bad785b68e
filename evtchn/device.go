package evtchn

import (
	"os"
	"time"

	"xvsock/internal/sys"
	"xvsock/xen"
)

// device is /dev/xen/evtchn; tests have their own.
//
// After an event on a port the device holds back further ones of that port until
// unmask. Unbinding does not take back events that are queued for reading.
type device interface {
	unbound(remote xen.DomID) (xen.Port, error)
	interdomain(remote xen.DomID, port xen.Port) (xen.Port, error)
	unbind(port xen.Port) error
	notify(port xen.Port) error
	unmask(port xen.Port) error
	// read waits for events and fills in their ports.
	read(ports []uint32) (int, error)
	// take is read after poll has said that it returns at once.
	take(ports []uint32) (int, error)
	// poll waits until read would return at once, or for d, without the scheduler's
	// hooks.
	poll(d time.Duration) (bool, error)
	// pause waits for d, without the scheduler's hooks.
	pause(d time.Duration)
	// close does not end a read; the device is closed once that has returned.
	close() error
	// abandon makes every later call fail without reaching the device, close
	// included.
	abandon()
	// dup and keepAcrossExec are for a device that was abandoned.
	dup() (*os.File, error)
	keepAcrossExec() error
}

// evtchnDevice is the kernel's. Which of its calls are made without the
// scheduler's hooks is decided in package sys.
type evtchnDevice struct{ fd *sys.FD }

func (d evtchnDevice) unbound(remote xen.DomID) (xen.Port, error) {
	port, err := sys.BindUnbound(d.fd, uint16(remote))
	return xen.Port(port), err
}

func (d evtchnDevice) interdomain(remote xen.DomID, port xen.Port) (xen.Port, error) {
	local, err := sys.BindInterdomain(d.fd, uint16(remote), uint32(port))
	return xen.Port(local), err
}

func (d evtchnDevice) unbind(port xen.Port) error         { return sys.Unbind(d.fd, uint32(port)) }
func (d evtchnDevice) notify(port xen.Port) error         { return sys.NotifyPort(d.fd, uint32(port)) }
func (d evtchnDevice) unmask(port xen.Port) error         { return sys.WritePort(d.fd, uint32(port)) }
func (d evtchnDevice) read(ports []uint32) (int, error)   { return sys.ReadPorts(d.fd, ports) }
func (d evtchnDevice) take(ports []uint32) (int, error)   { return sys.TakePorts(d.fd, ports) }
func (d evtchnDevice) poll(t time.Duration) (bool, error) { return sys.PollPorts(d.fd, t) }
func (d evtchnDevice) pause(t time.Duration)              { sys.Pause(t) }
func (d evtchnDevice) close() error                       { return d.fd.Close() }
func (d evtchnDevice) abandon()                           { d.fd.Abandon() }
func (d evtchnDevice) keepAcrossExec() error              { return d.fd.KeepAcrossExec() }
func (d evtchnDevice) dup() (*os.File, error)             { return d.fd.Dup() }
