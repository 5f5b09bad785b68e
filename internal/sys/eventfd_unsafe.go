package sys

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An eventfd has a reader and a writer, one of which is the kernel. The two kinds
// here are two ways into the kernel: NewKick makes one that this process writes, at
// once and often; NewEvent one that it waits for, without a thread.

// NewKick makes an eventfd with which this process tells the kernel something.
func NewKick(record *Record) (*FD, error) {
	number, err := eventfd()
	if err != nil {
		return nil, err
	}
	return newFD(number, "eventfd, kick", record), nil
}

// Kick writes to an eventfd of NewKick. It returns at once: that the count is full,
// after 2^64 kicks, is no wait but EAGAIN.
func Kick(f *FD) error {
	one := uint64(1)
	// The kernel reads one native word.
	_, err := f.writeAtOnce(unsafe.Pointer(&one), unsafe.Sizeof(one))
	return err
}

// Event is an eventfd by which the kernel tells this process something. A goroutine
// that waits for it has no thread.
type Event struct {
	number int // for the ioctl that gives it to the kernel; file owns it
	file   *os.File
	entry  *entry
	count  [8]byte // what Wait has read
}

// NewEvent makes one. Name is for a Record.
func NewEvent(name string, record *Record) (*Event, error) {
	number, err := eventfd()
	if err != nil {
		return nil, err
	}
	e := &Event{number: number, file: os.NewFile(uintptr(number), "eventfd, "+name)}
	e.entry = record.add(fmt.Sprintf("fd %d eventfd, %s", number, name))
	return e, nil
}

// Wait returns once Signal was called, or the kernel did the same, since the last
// Wait. After Close its error is os.ErrClosed. One goroutine waits at a time.
func (e *Event) Wait() error {
	_, err := e.file.Read(e.count[:])
	return err
}

// Signal ends a Wait, the next one if there is none now.
func (e *Event) Signal() error {
	_, err := e.file.Write([]byte{1, 1, 1, 1, 1, 1, 1, 0}) // any number but 0 and 2^64-1
	return err
}

// Close ends a Wait and gives the descriptor back. A second call does nothing.
func (e *Event) Close() error {
	err := e.file.Close()
	if err == nil {
		e.entry.drop()
	}
	return err
}

// eventfd is closed on exec and does not block, so that Go's poller can have it.
func eventfd() (int, error) {
	return unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
}
