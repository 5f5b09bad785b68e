package vhost

import (
	"errors"
	"io/fs"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"xvsock/internal/sys"
)

// needKernel skips a test for which the kernel must have vhost-vsock.
func needKernel(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(sys.VhostVsock); errors.Is(err, fs.ErrNotExist) {
		t.Skipf("there is no %s; TestAppsOnXen of package image runs this in QEMU", sys.VhostVsock)
	}
}

// patience bounds every wait of a test.
const patience = 30 * time.Second

// socket is one of the kernel's AF_VSOCK sockets.
type socket struct {
	*os.File
	t *testing.T
}

// newSocket takes over a descriptor.
func newSocket(t *testing.T, fd int) socket {
	t.Helper()
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "AF_VSOCK")
	t.Cleanup(func() { f.Close() })
	if err := f.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return socket{f, t}
}

// dial connects as a program does that does not know of us.
func dial(t *testing.T, kind int, cid, port uint32) (socket, error) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_VSOCK, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for {
		err := unix.Connect(fd, &unix.SockaddrVM{CID: cid, Port: port})
		if err == unix.EINTR {
			continue // by Go's own signals; the kernel began anew
		}
		if err != nil {
			unix.Close(fd)
			return socket{}, err
		}
		return newSocket(t, fd), nil
	}
}

func mustDial(t *testing.T, kind int, cid, port uint32) socket {
	t.Helper()
	s, err := dial(t, kind, cid, port)
	if err != nil {
		t.Fatalf("connect to %d:%d: %v", cid, port, err)
	}
	return s
}

// listen listens for all CIDs.
func listen(t *testing.T, kind int, port uint32) socket {
	t.Helper()
	fd, err := unix.Socket(unix.AF_VSOCK, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := newSocket(t, fd)
	if err := unix.Bind(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_ANY, Port: port}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 128); err != nil {
		t.Fatal(err)
	}
	return s
}

// accept returns a connection and whom it is from.
func (s socket) accept() (c socket, from *unix.SockaddrVM) {
	s.t.Helper()
	raw, err := s.SyscallConn()
	if err != nil {
		s.t.Fatal(err)
	}
	var fd int
	var address unix.Sockaddr
	var failed error
	err = raw.Read(func(listener uintptr) bool {
		fd, address, failed = unix.Accept4(int(listener), unix.SOCK_CLOEXEC)
		return failed != unix.EAGAIN
	})
	if err := errors.Join(err, failed); err != nil {
		s.t.Fatalf("accept: %v", err)
	}
	return newSocket(s.t, fd), address.(*unix.SockaddrVM)
}

// shutdown ends one direction.
func (s socket) shutdown(how int) {
	s.t.Helper()
	raw, err := s.SyscallConn()
	if err != nil {
		s.t.Fatal(err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = unix.Shutdown(int(fd), how) })
	if err := errors.Join(err, failed); err != nil {
		s.t.Fatalf("shutdown: %v", err)
	}
}

// opened opens an instance that ends with the test, and checks then that nothing of it
// is left.
func opened(t *testing.T, cid uint32, s shape) *Instance {
	t.Helper()
	record := new(sys.Record)
	i, err := open(cid, s, record)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Close(); err != nil {
			t.Error(err)
		}
		for _, held := range record.Held() {
			t.Errorf("left after Close: %v", held)
		}
	})
	return i
}

// forward sends on b what the kernel gives to a, as a daemon would that has a link to
// another kernel with b. It ends with a, and its result says why.
func forward(a, b *Instance) error {
	for {
		h, payload, err := a.Receive()
		if err != nil {
			return err
		}
		for !sendNow(b, h, payload, nil) {
			<-b.Room()
		}
	}
}

// pair opens two instances and joins them: what is sent to one CID comes from the
// other, so that a kernel talks to itself as if it were two.
func pair(t *testing.T, cidA, cidB uint32, s shape) (a, b *Instance) {
	t.Helper()
	a, b = opened(t, cidA, s), opened(t, cidB, s)
	ends := make(chan error, 2)
	go func() { ends <- forward(a, b) }()
	go func() { ends <- forward(b, a) }()
	t.Cleanup(func() {
		if err := errors.Join(a.Close(), b.Close()); err != nil {
			t.Error(err)
		}
		for range 2 {
			if err := <-ends; !errors.Is(err, os.ErrClosed) {
				t.Errorf("Receive ended with %v", err)
			}
		}
	})
	return a, b
}
