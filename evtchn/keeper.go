package evtchn

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"xvsock/internal/sys"
)

// KeeperName is the name by which the binary is started as a keeper. systemd spares
// processes of root whose name begins with "@" when it ends all others at shutdown
// (src/shared/killall.c, ignore_proc).
const KeeperName = "@xvsock-keeper"

// keeperWait bounds how long a keeper may take to say that it has a file.
const keeperWait = 5 * time.Second

// Keeper has files kept open past the end of this process, by a process that never
// ends: /dev/xen/evtchn of before a resume, whose last close is a kernel BUG. The
// zero Keeper is ready, and starts that process with the first file. There is one
// Keeper a process, and one keeper process, however many resumes there are.
type Keeper struct {
	mu    sync.Mutex
	files []*os.File // for another keeper process, if this one dies
	conn  *os.File   // to the keeper process; nil: there is none
}

// Abandoned is a device of which Keep can get a descriptor, as Kernel is.
type Abandoned interface {
	Dup() (*os.File, error)
}

// Keep has d kept open. An error says that the end of this process would close it.
func (k *Keeper) Keep(d Abandoned) error {
	f, err := d.Dup()
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.files = append(k.files, f)
	return k.hand(f)
}

// Check makes sure that the keeper process is still there, and starts another one
// if not. It is called before this process ends.
func (k *Keeper) Check() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.files) == 0 {
		return nil
	}
	return k.hand()
}

// hand gives files to the keeper process, or all there are to a new one. The caller
// holds mu.
func (k *Keeper) hand(files ...*os.File) error {
	if k.conn != nil {
		if give(k.conn, files) == nil {
			return nil
		}
		k.conn.Close()
		k.conn = nil
	}
	conn, err := startKeeper()
	if err != nil {
		return fmt.Errorf("start %s: %w", KeeperName, err)
	}
	for _, f := range k.files {
		if err := give(conn, []*os.File{f}); err != nil {
			return errors.Join(fmt.Errorf("hand a file to %s: %w", KeeperName, err), conn.Close())
		}
	}
	k.conn = conn
	return nil
}

// give sends files, and waits until the keeper process says that it has them.
func give(conn *os.File, files []*os.File) error {
	fds := make([]int, len(files))
	for i, f := range files {
		fds[i] = int(f.Fd())
	}
	socket := int(conn.Fd())
	if err := unix.Sendmsg(socket, []byte{0}, unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL); err != nil {
		return err
	}
	n, err := unix.Read(socket, make([]byte, 1))
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Read(socket, make([]byte, 1))
	}
	if err == nil && n == 0 {
		err = os.ErrClosed // it has died
	}
	return err
}

// startKeeper starts a keeper process, which has the other end of conn.
func startKeeper() (conn *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	near, far := os.NewFile(uintptr(pair[0]), "keeper"), os.NewFile(uintptr(pair[1]), "keeper")
	defer far.Close()
	limit := unix.NsecToTimeval(keeperWait.Nanoseconds())
	for _, option := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err := unix.SetsockoptTimeval(pair[0], unix.SOL_SOCKET, option, &limit); err != nil {
			return nil, errors.Join(err, near.Close())
		}
	}
	// A session of its own: no terminal and no service manager's group ends it.
	c := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{KeeperName}, Dir: "/", Env: []string{},
		ExtraFiles: []*os.File{far}, SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := c.Start(); err != nil {
		return nil, errors.Join(err, near.Close())
	}
	// It is not waited for: it outlives us.
	return near, c.Process.Release()
}

// RunKeeper is the whole life of a keeper process: it takes files, never touches
// them, and does not end, nor by any signal but SIGKILL. main calls it when the
// process was started as KeeperName, before anything else.
func RunKeeper() {
	sys.IgnoreSignals()
	// The last process that the kernel should take when memory is short. Without the
	// right to say so it is one like others.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0)
	const socket = 3
	room := make([]byte, unix.CmsgSpace(4*4))
	for {
		n, _, flags, _, err := unix.Recvmsg(socket, make([]byte, 1), room, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n == 0 || err != nil {
			break // who started us has ended
		}
		if flags&unix.MSG_CTRUNC != 0 {
			continue // not all of them could be taken: they are kept, and not answered for
		}
		// The files are ours from here on, and nobody closes numbers.
		_ = unix.Sendmsg(socket, []byte{0}, nil, nil, unix.MSG_NOSIGNAL)
	}
	for {
		_ = unix.Pause()
	}
}
