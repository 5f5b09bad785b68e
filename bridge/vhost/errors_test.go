package vhost

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"xvsock/internal/sys"
)

func TestAnErrorOfOpenSaysWhatToDo(t *testing.T) {
	node := func(errno error) error { return &openError{errno} }
	step := func(name string, errno error) error {
		return fmt.Errorf("queue 0: %w", os.NewSyscallError(name, errno))
	}
	for _, c := range []struct {
		name string
		err  error
		is   error
		says string
	}{
		{"no node", node(unix.ENOENT), ErrUnavailable, "load the kernel module vhost_vsock"},
		{"a node without the module", node(unix.ENODEV), ErrUnavailable, "load the kernel module vhost_vsock"},
		{"a node without the driver", node(unix.ENXIO), ErrUnavailable, "load the kernel module vhost_vsock"},
		{"no permission", node(unix.EACCES), fs.ErrPermission, "group kvm"},
		{"no permission by a device policy", node(unix.EPERM), fs.ErrPermission, "group kvm"},
		{"too many files", node(unix.EMFILE), unix.EMFILE, "open /dev/vhost-vsock"},
		{"the CID is taken", step(sys.StepSetCID, unix.EADDRINUSE), ErrInUse, "stop it, or leave"},
		{"the CID cannot be", step(sys.StepSetCID, unix.EINVAL), unix.EINVAL, "3 to 4294967294"},
		{"too many threads, as vhost says it", step(sys.StepSetOwner, unix.ENOMEM), unix.ENOMEM, "TasksMax="},
		{"too many threads, as fork says it", step(sys.StepSetOwner, unix.EAGAIN), unix.EAGAIN, "TasksMax="},
		{"an owner", step(sys.StepSetOwner, unix.EBUSY), unix.EBUSY, "has an owner"},
		{"anything else", step("VHOST_SET_VRING_NUM", unix.EINVAL), unix.EINVAL, "VHOST_SET_VRING_NUM"},
		{"an address in use elsewhere", step("VHOST_SET_VRING_NUM", unix.EADDRINUSE), unix.EADDRINUSE, "VHOST_SET_VRING_NUM"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := explain(c.err)
			if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want %v and %q in one line", err, c.is, c.says)
			}
			if errors.Is(err, ErrUnavailable) != (c.is == ErrUnavailable) || errors.Is(err, ErrInUse) != (c.is == ErrInUse) {
				t.Errorf("%v is of another kind too", err)
			}
		})
	}
}

func TestOpenWithoutTheModuleLeavesNothing(t *testing.T) {
	if _, err := os.Stat(sys.VhostVsock); err == nil {
		t.Skip("the node is there")
	}
	record := new(sys.Record)
	_, err := open(testCID, standardShape(), record)
	if !errors.Is(err, ErrUnavailable) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error is %v", err)
	}
	t.Log(err)
	for _, held := range record.Held() {
		t.Errorf("left: %v", held)
	}
	if _, err := Check(); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Check: %v", err)
	}
}

func TestSupportIsOneLine(t *testing.T) {
	for _, c := range []struct {
		support Support
		want    string
	}{
		{Support{Features: 0x100000002, Seqpacket: true, LocalCID: 2}, "vhost-vsock with features 0x100000002, own CID 2"},
		{
			Support{Features: 0x100000000, LocalCID: 9, Guest: true, Loopback: true},
			"vhost-vsock with features 0x100000000, no SOCK_SEQPACKET, own CID 9 from a guest transport, CIDs 1 and 2 are this domain (vsock_loopback)",
		},
	} {
		if got := c.support.String(); got != c.want {
			t.Errorf("%s\nwant %s", got, c.want)
		}
	}
}
