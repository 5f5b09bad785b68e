package xenstore_test

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"xvsock/sim/xenstored"
	"xvsock/xenstore"
)

func TestOpenSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	if _, err := xenstore.OpenSocket(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	server := xenstored.New()
	defer server.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		store := server.Connect(0)
		go func() {
			io.Copy(store, conn)
			store.Close()
		}()
		io.Copy(conn, store)
	}()
	c, err := xenstore.OpenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Write(t.Context(), "/a", "1"); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// A FIFO that is open for both stands in for the device: reading it blocks and
// it supports poll.
func TestCloseEndsTheReaderOfADevice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "xenbus")
	if _, err := xenstore.OpenDevice(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := xenstore.OpenDevice(path)
	if err != nil {
		t.Fatal(err)
	}
	closed := doing(c.Close)
	select {
	case err := <-closed:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Close hangs")
	}
}
