package evtchn

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pipeEnd is a file whose last close can be seen: at the pipe's other end.
type pipeEnd struct{ *os.File }

func (p pipeEnd) Dup() (*os.File, error) {
	fd, err := unix.FcntlInt(p.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	return os.NewFile(uintptr(fd), "pipe"), err
}

func newPipe(t *testing.T) (r *os.File, w pipeEnd) {
	t.Helper()
	r, end, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r, pipeEnd{end}
}

// isHeld reports whether somebody holds the other end of a pipe.
func isHeld(t *testing.T, r *os.File) bool {
	t.Helper()
	r.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	_, err := r.Read(make([]byte, 1))
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// keepers lists the keeper processes that pid has started.
func keepers(t *testing.T, pid int) (pids []int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		name, err := os.ReadFile(path)
		if err != nil || string(name) != KeeperName+"\x00" {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(filepath.Dir(path), "stat"))
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest)
		if found, _ := strconv.Atoi(filepath.Base(filepath.Dir(path))); fields[0] != "Z" && fields[1] == strconv.Itoa(pid) {
			pids = append(pids, found)
		}
	}
	return pids
}

// end kills the keeper processes of this test, and takes their zombies.
func end(t *testing.T) {
	for _, pid := range keepers(t, os.Getpid()) {
		syscall.Kill(pid, syscall.SIGKILL)
		syscall.Wait4(pid, nil, 0, nil)
	}
}

// forget closes what this process itself has of the files.
func (k *Keeper) forget() {
	for _, f := range k.files {
		f.Close()
	}
	k.conn.Close()
}

func TestAKeeperHoldsFilesWhateverItIsSent(t *testing.T) {
	defer end(t)
	var k Keeper
	if err := k.Check(); err != nil || len(keepers(t, os.Getpid())) != 0 {
		t.Errorf("with nothing to keep: %v, %v", err, keepers(t, os.Getpid()))
	}
	var ends []*os.File
	for range 3 {
		r, w := newPipe(t)
		ends = append(ends, r)
		if err := k.Keep(w); err != nil {
			t.Fatal(err)
		}
		w.Close()
	}
	pids := keepers(t, os.Getpid())
	if len(pids) != 1 {
		t.Fatalf("keepers: %v", pids)
	}
	k.forget()
	for s := syscall.Signal(1); s <= 64; s++ {
		if s == syscall.SIGKILL || s == syscall.SIGSTOP {
			continue
		}
		syscall.Kill(pids[0], s)
		time.Sleep(5 * time.Millisecond)
		if len(keepers(t, os.Getpid())) != 1 {
			t.Fatalf("signal %d ends it", s)
		}
	}
	for i, r := range ends {
		if !isHeld(t, r) {
			t.Errorf("file %d was closed", i)
		}
	}
	end(t)
	for i, r := range ends {
		if isHeld(t, r) {
			t.Errorf("somebody else holds file %d: the test shows nothing", i)
		}
	}
}

func TestAKeeperThatWasKilledIsReplaced(t *testing.T) {
	for name, again := range map[string]func(t *testing.T, k *Keeper){
		"by Check": func(t *testing.T, k *Keeper) {
			if err := k.Check(); err != nil {
				t.Error(err)
			}
		},
		"by the next Keep": func(t *testing.T, k *Keeper) {
			_, w := newPipe(t)
			if err := k.Keep(w); err != nil {
				t.Error(err)
			}
			w.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer end(t)
			var k Keeper
			r, w := newPipe(t)
			if err := k.Keep(w); err != nil {
				t.Fatal(err)
			}
			w.Close()
			end(t)
			again(t, &k)
			k.forget()
			if !isHeld(t, r) {
				t.Error("the new keeper has not got what the old one had")
			}
		})
	}
}

// The kernel drops files without an error where there is no room for them, or the limit
// of descriptors is reached.
func TestAKeeperDoesNotAnswerForFilesThatItCouldNotTake(t *testing.T) {
	defer end(t)
	conn, err := startKeeper()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	limit := unix.NsecToTimeval((200 * time.Millisecond).Nanoseconds())
	if err := unix.SetsockoptTimeval(int(conn.Fd()), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		t.Fatal(err)
	}
	_, w := newPipe(t)
	defer w.Close()
	many := slices.Repeat([]*os.File{w.File}, 10)
	if err := give(conn, many); err == nil {
		t.Error("it said that it has them")
	}
	if err := give(conn, many[:1]); err != nil {
		t.Errorf("one file after that: %v", err)
	}
}

// A process that has a keeper, and ends.
func TestAKeeperOutlivesWhoStartedIt(t *testing.T) {
	r, w := newPipe(t)
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), "KEEP_AND_EXIT=1")
	c.ExtraFiles = []*os.File{w.File}
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(pid, syscall.SIGKILL)
	if !isHeld(t, r) {
		t.Error("the file was closed with the process")
	}
	if sid, err := unix.Getsid(pid); err != nil || sid != pid {
		t.Errorf("session %d, %v", sid, err)
	}
}

// keepAndExit is the process of TestAKeeperOutlivesWhoStartedIt.
func keepAndExit() {
	var k Keeper
	if err := k.Keep(pipeEnd{os.NewFile(3, "pipe")}); err != nil {
		panic(err)
	}
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		stat, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "stat"))
		_, rest, _ := strings.Cut(string(stat), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(os.Getpid()) {
			os.Stdout.WriteString(filepath.Base(filepath.Dir(path)))
		}
	}
	os.Exit(0)
}

func TestOnlyWhatWasAbandonedIsKept(t *testing.T) {
	with(t, func(t *testing.T, d *fakeDevice, k *Kernel) {
		if _, err := k.Dup(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Dup of a device in use: %v", err)
		}
		k.Abandon()
		f, err := k.Dup()
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	})
}
