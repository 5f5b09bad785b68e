package vhost

import (
	"fmt"

	"golang.org/x/sys/unix"

	"xvsock/internal/sys"
)

// Support is what the kernel's AF_VSOCK has to offer, and what it is set up for.
type Support struct {
	Features  uint64 // of vhost-vsock
	Seqpacket bool   // SOCK_SEQPACKET works through an instance
	// LocalCID is what programs take for their own CID: 2, unless the machine is
	// itself a guest with a CID.
	LocalCID uint32
	// Guest says that it is: connections to the CIDs that no instance has go there,
	// not to ENODEV.
	Guest bool
	// Loopback says that vsock_loopback is loaded: CIDs 1 and 2 are then this
	// machine's own listeners.
	Loopback bool
}

// String is one line for a person.
func (s Support) String() string {
	line := fmt.Sprintf("vhost-vsock with features %#x", s.Features)
	if !s.Seqpacket {
		line += ", no SOCK_SEQPACKET"
	}
	line += fmt.Sprintf(", own CID %d", s.LocalCID)
	if s.Guest {
		line += " from a guest transport"
	}
	if s.Loopback {
		line += ", CIDs 1 and 2 are this domain (vsock_loopback)"
	}
	return line
}

// Support is Check for who has an instance already.
func (i *Instance) Support() (Support, error) { return Check() }

// Check looks whether Open can work, without making an instance: the node can be
// opened, which loads the module where udev has put the node, and is what it should
// be. Its errors are those of Open.
func Check() (Support, error) {
	fd, err := sys.OpenVhostVsock(nil)
	if err != nil {
		return Support{}, explain(&openError{err})
	}
	defer fd.Close()
	var s Support
	if s.Features, err = sys.VhostFeatures(fd); err != nil {
		return s, fmt.Errorf("%s: %w", sys.VhostVsock, err)
	}
	if s.Features&sys.FeatureVersion1 == 0 {
		return s, fmt.Errorf("%w: features %#x lack VIRTIO_F_VERSION_1", ErrUnavailable, s.Features)
	}
	s.Seqpacket = s.Features&sys.FeatureSeqpacket != 0
	if s.LocalCID, err = sys.LocalCID(); err != nil {
		return s, fmt.Errorf("ask %s for the own CID: %w", sys.VsockDevice, err)
	}
	s.Guest = s.LocalCID != hostCID && s.LocalCID != unix.VMADDR_CID_ANY
	if s.Loopback, err = sys.OwnsCID(unix.VMADDR_CID_LOCAL); err != nil {
		return s, fmt.Errorf("look for vsock_loopback: %w", err)
	}
	return s, nil
}
