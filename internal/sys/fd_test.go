package sys

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// isOpen reports whether number is an open descriptor of this process.
func isOpen(number int) bool {
	_, err := unix.FcntlInt(uintptr(number), unix.F_GETFD, 0)
	return err == nil
}

// pipe returns both ends of a pipe as FDs.
func pipe(t *testing.T, record *Record) (r, w *FD) {
	t.Helper()
	var numbers [2]int
	if err := unix.Pipe2(numbers[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	r, w = newFD(numbers[0], "pipe, read end", record), newFD(numbers[1], "pipe, write end", record)
	t.Cleanup(func() {
		if err := errors.Join(r.Close(), w.Close()); err != nil {
			t.Error(err)
		}
	})
	return r, w
}

func openNull(t *testing.T, record *Record) *FD {
	t.Helper()
	f, err := OpenDevice("/dev/null", "none", record)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestAMissingDeviceNamesTheModuleThatMakesIt(t *testing.T) {
	_, err := OpenDevice(filepath.Join(t.TempDir(), "gntalloc"), "xen-gntalloc", nil)
	if !errors.Is(err, os.ErrNotExist) || !errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), "xen-gntalloc") {
		t.Errorf("error is %q", err)
	}
}

func TestADeviceWhoseDriverIsAbsentCountsAsMissing(t *testing.T) {
	err := error(&missingError{path: "/dev/xen/evtchn", module: "xen-evtchn", errno: unix.ENODEV})
	if !errors.Is(err, os.ErrNotExist) || !errors.Is(err, unix.ENODEV) {
		t.Errorf("error is %q", err)
	}
}

func TestADeviceThatMayNotBeOpenedIsNotCalledMissing(t *testing.T) {
	_, err := OpenDevice(t.TempDir(), "none", nil) // a directory cannot be opened for writing
	if !errors.Is(err, unix.EISDIR) || errors.Is(err, os.ErrNotExist) {
		t.Errorf("error is %q", err)
	}
}

func TestTheDescriptorBlocksAndIsClosedOnExec(t *testing.T) {
	f := openNull(t, nil)
	defer f.Close()
	flags, err := unix.FcntlInt(uintptr(f.number), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor flags %#x, %v: want FD_CLOEXEC", flags, err)
	}
	status, err := unix.FcntlInt(uintptr(f.number), unix.F_GETFL, 0)
	if err != nil || status&unix.O_NONBLOCK != 0 {
		t.Errorf("status flags %#x, %v: want no O_NONBLOCK", status, err)
	}
}

func TestCloseTwiceClosesOnce(t *testing.T) {
	f := openNull(t, nil)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	other := openNull(t, nil)
	defer other.Close()
	if other.number != f.number { // most often it has the free number already
		if err := unix.Dup3(other.number, f.number, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(f.number)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if !isOpen(f.number) {
		t.Error("the second Close closed another file that got the same number")
	}
}

func TestAfterCloseEveryCallIsRefused(t *testing.T) {
	f := openNull(t, nil)
	f.Close()
	for name, call := range allCalls(f) {
		if err := call(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
}

func TestTheErrnoOfEachRequestComesBack(t *testing.T) {
	f := openNull(t, nil)
	defer f.Close()
	for name, call := range allCalls(f) {
		want := syscall.ENOTTY // what /dev/null says to any ioctl
		switch name {
		case "ReadPorts", "WritePort":
			continue // no requests, and /dev/null knows both
		case "Map", "MapAlone":
			want = syscall.ENODEV
		}
		if err := call(); err != want {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}

func allCalls(f *FD) map[string]func() error {
	return map[string]func() error{
		"AllocGrants":     func() error { _, _, err := AllocGrants(f, 1, 3, true); return err },
		"DeallocGrants":   func() error { return DeallocGrants(f, 0, 1) },
		"SetUnmapNotify":  func() error { return SetUnmapNotify(f, 0, 1) },
		"MapGrants":       func() error { _, err := MapGrants(f, 1, []uint32{2}); return err },
		"UnmapGrants":     func() error { return UnmapGrants(f, 0, 1) },
		"MapAlone":        func() error { _, err := MapAlone(f, 0, 4096); return err },
		"GrantCopyIn":     func() error { return GrantCopyIn(f, make([]CopyIn, 1)) },
		"GrantCopyOut":    func() error { return GrantCopyOut(f, make([]CopyOut, 1)) },
		"BindUnbound":     func() error { _, err := BindUnbound(f, 1); return err },
		"BindInterdomain": func() error { _, err := BindInterdomain(f, 1, 2); return err },
		"Unbind":          func() error { return Unbind(f, 1) },
		"NotifyPort":      func() error { return NotifyPort(f, 1) },
		"ReadPorts":       func() error { _, err := ReadPorts(f, make([]uint32, 1)); return err },
		"WritePort":       func() error { return WritePort(f, 1) },
		"Map":             func() error { _, err := Map(f, 0, 4096, false); return err },
	}
}

func TestCloseWaitsForTheCallThatUsesTheDescriptor(t *testing.T) {
	var record Record
	r, w := pipe(t, &record)
	inside, read := make(chan struct{}), make(chan error)
	go func() {
		_, err := r.call(func(fd uintptr) (uintptr, syscall.Errno) {
			close(inside)
			var b [4]byte
			n, err := syscall.Read(int(fd), b[:])
			if err != nil || n != 4 {
				return 0, syscall.EIO
			}
			return 4, 0
		})
		read <- err
	}()
	<-inside
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if !isOpen(r.number) {
		t.Fatal("Close gave the number back under a call")
	}
	if err := WritePort(w, 5); err != nil {
		t.Fatal(err)
	}
	if err := <-read; err != nil {
		t.Errorf("the call in flight: %v", err)
	}
	if held := record.Held(); len(held) != 1 || !strings.Contains(held[0].What, "write end") {
		t.Errorf("held after the call returned: %v", held)
	}
}

func TestConcurrentCallsAndClosesGiveTheDescriptorBackOnce(t *testing.T) {
	for range 50 {
		var record Record
		f := openNull(t, &record)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for NotifyPort(f, 1) == syscall.ENOTTY {
				}
			})
			wg.Go(func() {
				if err := f.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if held := record.Held(); len(held) != 0 {
			t.Fatalf("still held: %v", held)
		}
		if s := f.state.Load(); s != fdClosed {
			t.Fatalf("state is %#x", s)
		}
	}
}

func TestAnAbandonedDescriptorIsNeverUsedAndNeverClosed(t *testing.T) {
	var record Record
	f := openNull(t, &record)
	defer unix.Close(f.number)
	f.Abandon()
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if !isOpen(f.number) {
		t.Error("Close closed it")
	}
	for name, call := range allCalls(f) {
		if err := call(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if held := record.Held(); len(held) != 1 || !held[0].Kept {
		t.Errorf("the record says %v, want one that is kept on purpose", held)
	}
}

func TestAbandonOvertakesACloseThatStillWaitsForACall(t *testing.T) {
	f := openNull(t, nil)
	defer unix.Close(f.number)
	if err := f.acquire(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	f.Abandon()
	f.release()
	if !isOpen(f.number) {
		t.Error("the end of the call closed an abandoned descriptor")
	}
}

func TestOnlyAnAbandonedDescriptorCanOutliveExec(t *testing.T) {
	f := openNull(t, nil)
	defer unix.Close(f.number)
	if err := f.KeepAcrossExec(); err == nil {
		t.Error("accepted while the descriptor is in use")
	}
	f.Abandon()
	if err := f.KeepAcrossExec(); err != nil {
		t.Fatal(err)
	}
	flags, err := unix.FcntlInt(uintptr(f.number), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC != 0 {
		t.Errorf("descriptor flags %#x, %v: want no FD_CLOEXEC", flags, err)
	}
}

func TestOnlyAnAbandonedDescriptorIsDuplicated(t *testing.T) {
	f, closed := openNull(t, nil), openNull(t, nil)
	defer unix.Close(f.number)
	if _, err := f.Dup(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("one in use: %v", err)
	}
	closed.Close()
	closed.Abandon() // too late: the number may be another file's
	if _, err := closed.Dup(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("one that was closed: %v", err)
	}
	f.Abandon()
	d, err := f.Dup()
	if err != nil {
		t.Fatal(err)
	}
	flags, err := unix.FcntlInt(d.Fd(), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 || int(d.Fd()) == f.number {
		t.Errorf("descriptor %d of %d, flags %#x, %v", d.Fd(), f.number, flags, err)
	}
	if d.Close() != nil || !isOpen(f.number) {
		t.Error("closing the duplicate closed the descriptor")
	}
}

func TestAnInterruptedCallIsRepeated(t *testing.T) {
	f := openNull(t, nil)
	defer f.Close()
	calls := 0
	n, err := f.call(func(uintptr) (uintptr, syscall.Errno) {
		if calls++; calls < 3 {
			return 0, syscall.EINTR
		}
		return 7, 0
	})
	if n != 7 || err != nil || calls != 3 {
		t.Errorf("%d, %v after %d calls", n, err, calls)
	}
}

func TestAnInterruptedCallIsNotRepeatedOnceAbandoned(t *testing.T) {
	f := openNull(t, nil)
	defer unix.Close(f.number)
	_, err := f.call(func(uintptr) (uintptr, syscall.Errno) {
		f.Abandon()
		return 0, syscall.EINTR
	})
	if !errors.Is(err, os.ErrClosed) {
		t.Errorf("%v", err)
	}
}

func TestPortsAreReadAsTheyWereWritten(t *testing.T) {
	r, w := pipe(t, nil)
	want := []uint32{1, 0x01020304, 4095}
	for _, port := range want {
		if err := WritePort(w, port); err != nil {
			t.Fatal(err)
		}
	}
	ports := make([]uint32, MaxReadPorts)
	n, err := ReadPorts(r, ports)
	if err != nil || !slices.Equal(ports[:n], want) {
		t.Errorf("read %v, %v, want %v", ports[:n], err, want)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := ReadPorts(r, ports); n != 0 || err == nil {
		t.Errorf("end of file: %d, %v, want an error", n, err)
	}
}

func TestACallThatReturnsAtOnceDoesNotAllocate(t *testing.T) {
	f := openNull(t, nil)
	defer f.Close()
	local := make([]byte, 64)
	if n := testing.AllocsPerRun(100, func() {
		var in [CopyBatch]CopyIn
		var out [CopyBatch]CopyOut
		for i := range in {
			in[i].Set(Foreign{Ref: 1}, local)
			out[i].Set(Foreign{Ref: 1}, local)
		}
		_ = GrantCopyIn(f, in[:])
		_ = GrantCopyOut(f, out[:])
		_ = NotifyPort(f, 1)
		_ = WritePort(f, 1)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// memfd returns a file of size bytes that can be mapped as the grant devices
// can.
func memfd(t *testing.T, size int, record *Record) *FD {
	t.Helper()
	number, err := unix.MemfdCreate("pages", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Ftruncate(number, int64(size)); err != nil {
		t.Fatal(err)
	}
	f := newFD(number, "pages", record)
	t.Cleanup(func() { f.Close() })
	return f
}

func TestAMappingIsSharedAndStartsAtItsOffset(t *testing.T) {
	f := memfd(t, 3*4096, nil)
	whole, err := Map(f, 0, 3*4096, true)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Map(f, 4096, 4096, false)
	if err != nil {
		t.Fatal(err)
	}
	copy(whole.Bytes()[4096:], "here")
	if !bytes.HasPrefix(second.Bytes(), []byte("here")) || len(second.Bytes()) != 4096 {
		t.Errorf("second page starts with %q", second.Bytes()[:4])
	}
	for _, m := range []*Memory{whole, second, whole} {
		if err := m.Unmap(); err != nil {
			t.Error(err)
		}
		if m.Bytes() != nil {
			t.Error("Bytes after Unmap")
		}
	}
}

func TestAReadOnlyMappingCannotBeWritten(t *testing.T) {
	f := memfd(t, 4096, nil)
	m, err := Map(f, 0, 4096, false)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Unmap()
	address := m.Bytes()
	// The kernel refuses to store there on our behalf, without a fault of ours.
	r, w := pipe(t, nil)
	if err := WritePort(w, 1); err != nil {
		t.Fatal(err)
	}
	if n, err := syscall.Read(r.number, address[:4]); err != syscall.EFAULT {
		t.Errorf("read into it: %d, %v, want EFAULT", n, err)
	}
}

func TestConcurrentUnmapsUnmapOnce(t *testing.T) {
	var record Record
	f := memfd(t, 4096, &record)
	m, err := Map(f, 0, 4096, true)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := m.Unmap(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if held := record.Held(); len(held) != 1 {
		t.Errorf("held: %v, want the file only", held)
	}
}

func TestTheRecordShowsWhatIsHeldAndWhoMadeIt(t *testing.T) {
	var record Record
	f := memfd(t, 4096, &record)
	m, err := Map(f, 0, 4096, true)
	if err != nil {
		t.Fatal(err)
	}
	held := record.Held()
	if len(held) != 2 || !strings.HasSuffix(held[0].What, "pages") || !strings.Contains(held[1].What, "map of 4096 bytes") {
		t.Fatalf("held: %v", held)
	}
	for _, h := range held {
		if !strings.Contains(h.String(), "TestTheRecordShowsWhatIsHeldAndWhoMadeIt") || h.Kept {
			t.Errorf("%v does not name who made it", h)
		}
	}
	m.Unmap()
	f.Close()
	if held := record.Held(); len(held) != 0 {
		t.Errorf("held at the end: %v", held)
	}
}

func TestABlockingReadDoesNotStopTheOthers(t *testing.T) {
	r, w := pipe(t, nil)
	done := make(chan error, 1)
	go func() {
		_, err := ReadPorts(r, make([]uint32, 1))
		done <- err
	}()
	// A collection stops every goroutine first. It would hang here if the reader
	// waited without telling the scheduler.
	for range 50 {
		runtime.GC()
	}
	if err := WritePort(w, 1); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
