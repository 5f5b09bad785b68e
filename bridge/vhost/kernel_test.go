package vhost

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"xvsock/internal/sys"
)

// These tests have the kernel at the other side: its AF_VSOCK sockets, and its vhost.

const (
	here  = 0x10007 // a connection to it
	there = 0x10008 // comes from this one, see pair
	port  = 4711
)

// smallShape wraps around everything soon, the indexes too.
func smallShape() shape {
	return shape{buffers: 8, bufferSize: 1 << 10, slots: 8, arena: 80 << 10, base: 65530}
}

// patterned returns bytes that differ from place to place.
func patterned(size int, seed byte) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// exchange sends data both ways at once, each side ends with a half-close, and checks
// what arrives.
func exchange(t *testing.T, client, server socket, size int) {
	t.Helper()
	var wg sync.WaitGroup
	defer wg.Wait()
	for i, ends := range [][2]socket{{client, server}, {server, client}} {
		data := patterned(size, byte(i))
		wg.Go(func() {
			if _, err := ends[0].Write(data); err != nil {
				t.Errorf("direction %d: write: %v", i, err)
			}
			ends[0].shutdown(unix.SHUT_WR)
		})
		wg.Go(func() {
			sum := sha256.New()
			n, err := io.Copy(sum, ends[1])
			if err != nil || n != int64(size) || !bytes.Equal(sum.Sum(nil), sum256(data)) {
				t.Errorf("direction %d: %d bytes of %d arrived, %v, or not the same", i, n, size, err)
			}
		})
	}
}

func sum256(b []byte) []byte { s := sha256.Sum256(b); return s[:] }

func TestKernelCarriesAMegabyteEachWayAndHalfCloses(t *testing.T) {
	needKernel(t)
	for _, c := range []struct {
		name  string
		shape shape
		size  int
	}{
		{"with the buffers that peers get", standardShape(), 1 << 20},
		{"with a ring of 8 whose indexes wrap", smallShape(), 1 << 20},
		{"a byte", standardShape(), 1},
		{"nothing", standardShape(), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := pair(t, here, there, c.shape)
			l := listen(t, unix.SOCK_STREAM, port)
			client := mustDial(t, unix.SOCK_STREAM, here, port)
			server, from := l.accept()
			if from.CID != there {
				t.Errorf("the connection comes from CID %d, want %d", from.CID, there)
			}
			exchange(t, client, server, c.size)
			if n := a.Dropped() + b.Dropped(); n != 0 {
				t.Errorf("%d packets were passed over", n)
			}
		})
	}
}

func TestKernelMemoryStaysWholeWhileTheCollectorRuns(t *testing.T) {
	needKernel(t)
	pair(t, here, there, standardShape())
	l := listen(t, unix.SOCK_STREAM, port)
	client := mustDial(t, unix.SOCK_STREAM, here, port)
	server, _ := l.accept()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				runtime.GC()
			}
		}
	})
	exchange(t, client, server, 4<<20)
	close(stop)
	wg.Wait()
}

func TestKernelKeepsMessagesOfSeqpacketApart(t *testing.T) {
	needKernel(t)
	pair(t, here, there, standardShape())
	l := listen(t, unix.SOCK_SEQPACKET, port)
	client := mustDial(t, unix.SOCK_SEQPACKET, here, port)
	server, _ := l.accept()
	for _, size := range []int{3, 14, 1, 70_000, 200_000, 8148, 8149, 65536} {
		for direction, ends := range [][2]socket{{client, server}, {server, client}} {
			want := patterned(size, byte(size))
			if _, err := ends[0].Write(want); err != nil {
				t.Fatalf("write %d bytes: %v", size, err)
			}
			got := make([]byte, size+1)
			n, err := ends[1].Read(got)
			if err != nil || !bytes.Equal(got[:n], want) {
				t.Fatalf("direction %d: message of %d bytes arrived as %d, %v", direction, size, n, err)
			}
		}
	}
}

func TestKernelConnectionThatNobodyTakesIsReset(t *testing.T) {
	needKernel(t)
	t.Run("by the other kernel, which has no listener", func(t *testing.T) {
		pair(t, here, there, standardShape())
		begin := time.Now()
		_, err := dial(t, unix.SOCK_STREAM, here, port)
		if err != unix.ECONNRESET {
			t.Errorf("connect: %v, want %v", err, unix.ECONNRESET)
		}
		if took := time.Since(begin); took > time.Second {
			t.Errorf("refused after %v", took)
		}
	})
	t.Run("nobody answers", func(t *testing.T) {
		opened(t, here, standardShape())
		if _, err := dial(t, unix.SOCK_STREAM, here, port); err != unix.ETIMEDOUT {
			t.Errorf("connect: %v, want %v", err, unix.ETIMEDOUT)
		}
	})
	t.Run("no instance has the CID", func(t *testing.T) {
		if _, err := dial(t, unix.SOCK_STREAM, here, port); err != unix.ENODEV {
			t.Errorf("connect: %v, want %v", err, unix.ENODEV)
		}
	})
}

func TestKernelSocketsEndWithTheInstance(t *testing.T) {
	needKernel(t)
	a, b := pair(t, here, there, standardShape())
	l := listen(t, unix.SOCK_STREAM, port)
	client := mustDial(t, unix.SOCK_STREAM, here, port)
	server, _ := l.accept()
	begin := time.Now()
	for _, c := range []struct {
		instance *Instance
		socket   socket
	}{{a, client}, {b, server}} {
		reads := make(chan error, 1)
		go func() {
			_, err := c.socket.Read(make([]byte, 1))
			reads <- err
		}()
		if err := c.instance.Close(); err != nil {
			t.Error(err)
		}
		if err := <-reads; !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("read: %v, want %v", err, unix.ECONNRESET)
		}
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("both were reset after %v", took)
	} else {
		t.Logf("both were reset after %v", took)
	}
}

// A program that is being started has copies of all descriptors for a moment.
func TestKernelLeavesTheMemoryAloneAfterCloseThoughTheFileIsStillOpen(t *testing.T) {
	needKernel(t)
	i, err := Open(here)
	if err != nil {
		t.Fatal(err)
	}
	unmap := i.device.unmap
	i.device.unmap = func() error { return nil }
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	twin := -1
	for _, link := range links {
		var number int
		if to, err := os.Readlink(link); err != nil || to != sys.VhostVsock {
			continue
		}
		if _, err := fmt.Sscanf(filepath.Base(link), "%d", &number); err != nil {
			t.Fatal(err)
		}
		if twin, err = unix.FcntlInt(uintptr(number), unix.F_DUPFD_CLOEXEC, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := i.Close(); err != nil {
		t.Error(err)
	}
	before := bytes.Clone(i.device.memory)
	if _, err := dial(t, unix.SOCK_STREAM, here, port); err != unix.ETIMEDOUT {
		t.Errorf("connect: %v, want %v of a CID that is there and does not run", err, unix.ETIMEDOUT)
	}
	if !bytes.Equal(i.device.memory, before) {
		t.Error("the kernel wrote after Close")
	}
	if err := errors.Join(unix.Close(twin), unmap()); err != nil {
		t.Error(err)
	}
}

func TestKernelRefusesACIDWithTheReason(t *testing.T) {
	needKernel(t)
	opened(t, here, standardShape())
	for _, c := range []struct {
		name string
		cid  uint32
		want error
		says string
	}{
		{"taken", here, ErrInUse, "virtual machine"},
		{"of the hypervisor", 0, unix.EINVAL, "3 to 4294967294"},
		{"of loopback", 1, unix.EINVAL, "3 to 4294967294"},
		{"of the host", 2, unix.EINVAL, "3 to 4294967294"},
		{"any", unix.VMADDR_CID_ANY, unix.EINVAL, "3 to 4294967294"},
	} {
		record := new(sys.Record)
		_, err := open(c.cid, standardShape(), record)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
		for _, held := range record.Held() {
			t.Errorf("%s: left: %v", c.name, held)
		}
	}
}

// A full queue: the kernel stops to take packets once too many of its answers wait.
func TestKernelGivesRoomAgainOnceItsAnswersAreTaken(t *testing.T) {
	needKernel(t)
	i := opened(t, here, standardShape())
	const packets = 2000 // each of them is answered with RST
	stray := Header{Src: 1, Dst: port, Type: typeStream, Op: opRW}
	sent := make(chan int)
	full := make(chan struct{})
	go func() {
		waits := 0
		for n := range packets {
			for !sendNow(i, stray, nil, nil) {
				if waits++; waits == 1 {
					close(full)
				}
				<-i.Room()
			}
			_ = n
		}
		sent <- waits
	}()
	select {
	case <-full:
	case n := <-sent:
		t.Fatalf("the kernel took %d packets that it had to answer, with %d waits", packets, n)
	}
	for answers := 0; answers < packets; {
		h, _, err := i.Receive()
		switch {
		case err != nil:
			t.Fatal(err)
		case h.Op != opReset:
			t.Fatalf("received %+v, want RST", h)
		case h.Src == port && h.Dst == 1:
			answers++
		default: // a socket of an earlier test, which the kernel closes late, resets too
		}
	}
	t.Logf("waited for room %d times", <-sent)
	_ = i.Close()
	_, _, _ = i.Receive()
}

func TestKernelFaultBreaksTheInstance(t *testing.T) {
	needKernel(t)
	i := opened(t, here, standardShape())
	i.tx.mu.Lock()
	i.tx.describe(0, 1<<40, headerSize, 0) // no such address
	i.tx.put(0)
	i.tx.publish()
	err := i.device.txKick()
	i.tx.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := i.Receive(); !errors.Is(err, ErrBroken) {
		t.Errorf("Receive: %v, want %v", err, ErrBroken)
	}
}

func TestKernelHasAHundredInstances(t *testing.T) {
	needKernel(t)
	const count = 100
	before := resident(t)
	begin := time.Now()
	ends := make(chan error, count)
	all := make([]*Instance, count)
	for n := range all {
		i := opened(t, here+uint32(n), standardShape())
		all[n] = i
		go func() {
			for {
				h, _, err := i.Receive()
				if err != nil {
					ends <- err
					return
				}
				sendNow(i, Header{Src: h.Dst, Dst: h.Src, Type: h.Type, Op: opReset}, nil, nil)
			}
		}()
	}
	t.Logf("open after %v", time.Since(begin))
	for n := range all {
		if _, err := dial(t, unix.SOCK_STREAM, here+uint32(n), port); err != unix.ECONNRESET {
			t.Errorf("instance %d: connect: %v", n, err)
		}
	}
	t.Logf("%d KiB of memory for each, after a packet each way", (resident(t)-before)/count)
	begin = time.Now()
	var wg sync.WaitGroup
	for _, i := range all {
		wg.Go(func() { _ = i.Close() })
	}
	wg.Wait()
	for range all {
		if err := <-ends; !errors.Is(err, os.ErrClosed) {
			t.Errorf("Receive ended with %v", err)
		}
	}
	t.Logf("closed after %v", time.Since(begin))
}

// resident is the memory that the process has written, in KiB.
func resident(t *testing.T) (kib int) {
	t.Helper()
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "RssAnon: %d kB", &kib); err == nil {
			return kib
		}
	}
	t.Fatal("no RssAnon in /proc/self/status")
	return 0
}

// holds counts what the process has open and mapped.
func holds(t *testing.T) string {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d descriptors, %d anonymous mappings of an instance's size", len(fds), largeMaps(string(maps)))
}

// largeMaps counts mappings without a file that are no smaller than an instance.
func largeMaps(text string) (n int) {
	size := uint64(standardShape().layout().size)
	for line := range strings.Lines(text) {
		var from, to uint64
		var mode string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); err != nil {
			continue
		}
		if mode == "rw-p" && len(strings.Fields(line)) == 5 && (to-from)%size == 0 {
			n += int((to - from) / size)
		}
	}
	return n
}

func TestKernelThousandOpensLeaveNothing(t *testing.T) {
	needKernel(t)
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	before := holds(t)
	var wg sync.WaitGroup
	for worker := range 10 {
		wg.Go(func() {
			for n := range 100 {
				i, err := Open(here + uint32(worker))
				if err != nil {
					t.Errorf("open %d: %v", n, err)
					return
				}
				end := make(chan error)
				go func() {
					_, _, err := i.Receive()
					end <- err
				}()
				if err := i.Close(); err != nil {
					t.Error(err)
				}
				if err := <-end; !errors.Is(err, os.ErrClosed) {
					t.Errorf("Receive: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if after := holds(t); after != before {
		t.Errorf("after: %s; before: %s", after, before)
	} else {
		t.Log(after)
	}
}

func TestKernelIsDescribed(t *testing.T) {
	needKernel(t)
	s, err := Check()
	if err != nil {
		t.Fatal(err)
	}
	t.Log(s)
	if !s.Seqpacket || s.LocalCID != hostCID || s.Guest || s.Loopback {
		t.Errorf("%+v, want a host without loopback", s)
	}
}
