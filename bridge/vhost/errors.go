package vhost

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"xvsock/internal/sys"
)

var (
	// ErrUnavailable says that this kernel has no vhost-vsock.
	ErrUnavailable = errors.New("no vhost-vsock in this kernel")
	// ErrInUse says that a virtual machine, or another program, has the CID.
	ErrInUse = errors.New("the CID is in use")
)

// openError is why the node could not be opened.
type openError struct{ errno error }

func (e *openError) Error() string { return fmt.Sprintf("open %s: %v", sys.VhostVsock, e.errno) }
func (e *openError) Unwrap() error { return e.errno }

// explain adds to an error of the kernel what it means here, and what to do.
func explain(err error) error {
	if node := (*openError)(nil); errors.As(err, &node) {
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
			return fmt.Errorf("%w (load the kernel module vhost_vsock): %w", ErrUnavailable, err)
		case errors.Is(err, fs.ErrPermission):
			return fmt.Errorf("%w (the node is for root and the group kvm; a unit gets it with SupplementaryGroups=kvm)", err)
		}
		return err
	}
	refused := (*os.SyscallError)(nil)
	if !errors.As(err, &refused) {
		return err
	}
	switch step := refused.Syscall; {
	case step == sys.StepSetCID && errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("%w by a virtual machine or another daemon of this machine (stop it, or leave this peer to it): %w", ErrInUse, err)
	case step == sys.StepSetCID && errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w (a CID is 3 to 4294967294; the kernel keeps 0, 1 and 2 for itself)", err)
	case step == sys.StepSetOwner && (errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.EAGAIN)):
		return fmt.Errorf("%w (the kernel's worker counts as a thread of this process: raise TasksMax= of the unit, or its LimitNPROC=)", err)
	case step == sys.StepSetOwner && errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w (the device has an owner already)", err)
	}
	return err
}
