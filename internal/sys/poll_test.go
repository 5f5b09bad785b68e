package sys

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// words puts ports into a pipe as the device gives them out.
func words(t *testing.T, w *FD, ports ...uint32) {
	t.Helper()
	var b []byte
	for _, p := range ports {
		b = binary.NativeEndian.AppendUint32(b, p)
	}
	if n, err := unix.Write(w.number, b); n != len(b) || err != nil {
		t.Fatalf("write: %d, %v", n, err)
	}
}

func TestPollPortsSaysWhetherThereIsSomethingToRead(t *testing.T) {
	r, w := pipe(t, nil)
	if ready, err := PollPorts(r, 0); ready || err != nil {
		t.Errorf("nothing there, no time: %v, %v", ready, err)
	}
	began := time.Now()
	if ready, err := PollPorts(r, 3*time.Millisecond); ready || err != nil {
		t.Errorf("nothing there: %v, %v", ready, err)
	}
	if took := time.Since(began); took < 3*time.Millisecond {
		t.Errorf("it has waited for %v, want 3 ms", took)
	}
	words(t, w, 7)
	began = time.Now()
	if ready, err := PollPorts(r, time.Minute); !ready || err != nil {
		t.Errorf("a port is there: %v, %v", ready, err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it has waited for %v although a port was there", took)
	}
}

func TestPollPortsIsEndedByAPortThatComes(t *testing.T) {
	r, w := pipe(t, nil)
	// The writer is a thread of its own in its wait already: PollPorts keeps its
	// processor, and there may be one.
	go func() {
		pause := unix.NsecToTimespec(int64(2 * time.Millisecond))
		_ = unix.Nanosleep(&pause, nil)
		_, _ = unix.Write(w.number, []byte{1, 0, 0, 0})
	}()
	for end := time.Now().Add(30 * time.Second); ; {
		ready, err := PollPorts(r, 4*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if ready {
			break
		}
		if time.Now().After(end) {
			t.Fatal("no port has come")
		}
	}
}

func TestTakePortsReadsWhatIsThere(t *testing.T) {
	r, w := pipe(t, nil)
	words(t, w, 7, 1<<31, 9)
	ports := make([]uint32, 2)
	if n, err := TakePorts(r, ports); n != 2 || err != nil || ports[0] != 7 || ports[1] != 1<<31 {
		t.Errorf("%d ports %v, %v", n, ports, err)
	}
	if n, err := TakePorts(r, ports); n != 1 || err != nil || ports[0] != 9 {
		t.Errorf("%d ports %v, %v", n, ports, err)
	}
}

func TestTakePortsOfLessThanAPortIsAnError(t *testing.T) {
	r, w := pipe(t, nil)
	if _, err := unix.Write(w.number, []byte{1, 2}); err != nil {
		t.Fatal(err)
	}
	if n, err := TakePorts(r, make([]uint32, 2)); n != 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d ports, %v", n, err)
	}
}

func TestPollAndTakeOfAClosedDeviceReachNothing(t *testing.T) {
	for name, end := range map[string]func(f *FD){
		"closed":    func(f *FD) { _ = f.Close() },
		"abandoned": (*FD).Abandon,
	} {
		t.Run(name, func(t *testing.T) {
			var numbers [2]int
			if err := unix.Pipe2(numbers[:], unix.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
			r := newFD(numbers[0], "pipe, read end", nil)
			defer unix.Close(numbers[1])
			if _, err := unix.Write(numbers[1], []byte{1, 0, 0, 0}); err != nil {
				t.Fatal(err)
			}
			end(r)
			if ready, err := PollPorts(r, time.Millisecond); ready || !errors.Is(err, os.ErrClosed) {
				t.Errorf("PollPorts: %v, %v", ready, err)
			}
			if n, err := TakePorts(r, make([]uint32, 1)); n != 0 || !errors.Is(err, os.ErrClosed) {
				t.Errorf("TakePorts: %d, %v", n, err)
			}
			if isOpen(numbers[0]) {
				_ = unix.Close(numbers[0])
			}
		})
	}
}

func TestPollAndTakeAllocateNothing(t *testing.T) {
	r, w := pipe(t, nil)
	ports := make([]uint32, 4)
	one := []byte{1, 0, 0, 0}
	if n := testing.AllocsPerRun(100, func() {
		if _, err := unix.Write(w.number, one); err != nil {
			t.Fatal(err)
		}
		if ready, err := PollPorts(r, time.Millisecond); !ready || err != nil {
			t.Fatal(ready, err)
		}
		if n, err := TakePorts(r, ports); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if ready, err := PollPorts(r, 0); ready || err != nil {
			t.Fatal(ready, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAPauseTakesItsTimeUnlessASignalEndsIt(t *testing.T) {
	for try := range 100 {
		began := time.Now()
		Pause(time.Millisecond)
		if took := time.Since(began); took >= time.Millisecond {
			return
		} else if try == 99 {
			t.Errorf("a pause of 1 ms took %v", took)
		}
	}
}
