package sys

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAnEventIsWaitedForOnceHoweverOftenItWasSignalled(t *testing.T) {
	record := new(Record)
	e, err := NewEvent("test", record)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := e.Signal(); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := e.file.SetReadDeadline(time.Now()); err != nil {
		t.Fatalf("the eventfd is not in Go's poller: %v", err)
	}
	if err := e.Wait(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("waited again: %v", err)
	}
	if held := record.Held(); len(held) != 1 || !strings.Contains(held[0].What, "eventfd, test") {
		t.Errorf("held: %v", held)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if held := record.Held(); len(held) != 0 {
		t.Errorf("held after Close: %v", held)
	}
}

func TestCloseEndsAWaitForAnEvent(t *testing.T) {
	e, err := NewEvent("test", nil)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- e.Wait() }()
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, os.ErrClosed) {
		t.Errorf("Wait: %v, want %v", err, os.ErrClosed)
	}
	if err := e.Signal(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Signal: %v, want %v", err, os.ErrClosed)
	}
}

func TestAKickIsCountedAndAFullCountIsNoWait(t *testing.T) {
	record := new(Record)
	f, err := NewKick(record)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Kick(f); err != nil {
			t.Fatal(err)
		}
	}
	count := make([]byte, 8)
	if n, err := unix.Read(f.number, count); n != 8 || err != nil || count[0] != 2 {
		t.Errorf("count is % x, %v, want 2", count, err)
	}
	full := []byte{0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}
	if _, err := unix.Write(f.number, full); err != nil {
		t.Fatal(err)
	}
	if err := Kick(f); err != unix.EAGAIN {
		t.Errorf("kick of a full count: %v, want %v", err, unix.EAGAIN)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if err := Kick(f); err != os.ErrClosed {
		t.Errorf("kick after Close: %v, want %v", err, os.ErrClosed)
	}
	if held := record.Held(); len(held) != 0 {
		t.Errorf("held after Close: %v", held)
	}
}

func TestEventfdsAreClosedOnExec(t *testing.T) {
	number, err := eventfd()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(number)
	if flags, err := unix.FcntlInt(uintptr(number), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags are %#x, %v", flags, err)
	}
}

func TestAnonymousMemoryIsZeroedAndGivenBack(t *testing.T) {
	record := new(Record)
	m, err := MapAnonymous(3*4096, record)
	if err != nil {
		t.Fatal(err)
	}
	b := m.Bytes()
	if len(b) != 3*4096 || len(strings.Trim(string(b), "\x00")) != 0 {
		t.Errorf("%d bytes, or not zero", len(b))
	}
	b[0], b[len(b)-1] = 1, 1
	if held := record.Held(); len(held) != 1 || !strings.Contains(held[0].What, "anonymous") {
		t.Errorf("held: %v", held)
	}
	if err := m.Unmap(); err != nil {
		t.Error(err)
	}
	if held := record.Held(); len(held) != 0 {
		t.Errorf("held after Unmap: %v", held)
	}
}

func TestOpenSaysThatThereIsNoVhost(t *testing.T) {
	f, err := OpenVhostVsock(nil)
	if err == nil {
		f.Close()
		t.Skip("there is")
	}
	if err != unix.ENOENT && err != unix.ENXIO && err != unix.ENODEV && err != unix.EACCES && err != unix.EPERM {
		t.Errorf("error is %v", err)
	}
}
