// Package doortest is a door for tests: it speaks the dialect of the daemon's unix socket
// and joins whoever connects to whoever listens, without a daemon and without Xen.
package doortest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// The address that listeners see at the other end of each connection.
const (
	CallerCID  = 5
	CallerPort = 49152
)

// Door is a socket at Path. Its domains are whatever a test dials; all of them have the
// listeners that were made through it.
type Door struct {
	Path string

	mu        sync.Mutex
	answers   map[string]string        // by "DOMAIN:PORT": an error line instead of a connection
	silent    map[string]bool          // connected, and then nothing ever comes
	listeners map[string]chan net.Conn // by port
	open      map[net.Conn]bool        // what was joined or is silent
	dialled   int
}

// Start makes a door that is gone at the end of the test.
func Start(t testing.TB) *Door {
	d := &Door{
		Path:      filepath.Join(t.TempDir(), "vsock.sock"),
		answers:   make(map[string]string),
		silent:    make(map[string]bool),
		listeners: make(map[string]chan net.Conn),
		open:      make(map[net.Conn]bool),
	}
	l, err := net.Listen("unix", d.Path)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d.note(c, true)
			serving.Go(func() { d.serve(c.(*net.UnixConn)) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		d.Lose()
		serving.Wait()
	})
	return d
}

// Answer has every later connect to address answered with "ERR ERRNO TEXT"; an empty
// errno takes that back.
func (d *Door) Answer(address, errno, text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.answers, address)
	if errno != "" {
		d.answers[address] = fmt.Sprintf("ERR %s %s\n", errno, text)
	}
}

// Silence has every later connection to address carry nothing, as to a program that
// hangs.
func (d *Door) Silence(address string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.silent[address] = true
}

// Lose ends every connection and every listener, as the end of the daemon does.
func (d *Door) Lose() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for c := range d.open {
		c.Close()
	}
}

// Dialled is how many connects were asked for.
func (d *Door) Dialled() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dialled
}

// note remembers c until it is closed.
func (d *Door) note(c net.Conn, open bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if open {
		d.open[c] = true
		return
	}
	delete(d.open, c)
	c.Close()
}

// serve reads the one line that a program begins with.
func (d *Door) serve(c *net.UnixConn) {
	defer d.note(c, false)
	line, err := readLine(c)
	if err != nil {
		return
	}
	switch words := strings.Fields(line); {
	case len(words) == 3 && words[0] == "CONNECT":
		d.connect(c, words[1]+":"+words[2], words[2])
	case len(words) == 2 && words[0] == "LISTEN":
		d.listen(c, words[1])
	default:
		fmt.Fprintf(c, "ERR EINVAL no request: %q\n", line)
	}
}

// connect joins c to a listener.
func (d *Door) connect(c *net.UnixConn, address, port string) {
	d.mu.Lock()
	answer, silent, to := d.answers[address], d.silent[address], d.listeners[port]
	d.dialled++
	d.mu.Unlock()
	switch {
	case answer != "":
		io.WriteString(c, answer)
	case silent:
		io.WriteString(c, "OK 1024\n")
		io.Copy(io.Discard, c)
	case to == nil:
		io.WriteString(c, "ERR ECONNREFUSED connection refused\n")
	default:
		near, far, err := pair()
		if err != nil {
			return
		}
		d.note(near, true)
		defer d.note(near, false)
		io.WriteString(c, "OK 1024\n")
		to <- far
		join(c, near)
	}
}

// listen hands connections to port over c, one for each ACCEPT.
func (d *Door) listen(c *net.UnixConn, port string) {
	waiting := make(chan net.Conn, 16)
	d.mu.Lock()
	taken := d.listeners[port] != nil
	if !taken {
		d.listeners[port] = waiting
	}
	d.mu.Unlock()
	if taken {
		io.WriteString(c, "ERR EADDRINUSE address already in use\n")
		return
	}
	defer func() {
		d.mu.Lock()
		delete(d.listeners, port)
		d.mu.Unlock()
	}()
	fmt.Fprintf(c, "OK %s\n", port)
	asked := make(chan bool)
	go func() { // until c ends
		defer close(asked)
		for lines := bufio.NewScanner(c); lines.Scan() && lines.Text() == "ACCEPT"; {
			asked <- true
		}
	}()
	for range asked {
		select {
		case far := <-waiting:
			pass(c, far)
		case <-asked: // c has ended, or asks for two at once, which this door cannot
			return
		}
	}
}

// pass sends the descriptor of far.
func pass(c *net.UnixConn, far net.Conn) {
	defer far.Close()
	f, err := far.(*net.UnixConn).File()
	if err != nil {
		return
	}
	defer f.Close()
	line := fmt.Appendf(nil, "OK %d %d\n", CallerCID, CallerPort)
	c.WriteMsgUnix(line, syscall.UnixRights(int(f.Fd())), nil)
}

// pair is two joined sockets.
func pair() (near, far net.Conn, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	conn := func(fd int) (net.Conn, error) {
		f := os.NewFile(uintptr(fd), "")
		defer f.Close() // FileConn has a copy
		return net.FileConn(f)
	}
	near, err1 := conn(fds[0])
	far, err2 := conn(fds[1])
	if err1 != nil || err2 != nil {
		return nil, nil, fmt.Errorf("socket pair: %v, %v", err1, err2)
	}
	return near, far, nil
}

// join copies between a and b, each direction to its end.
func join(a, b net.Conn) {
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		both.Go(func() {
			io.Copy(way[0], way[1])
			way[0].(*net.UnixConn).CloseWrite()
		})
	}
	both.Wait()
}

// readLine reads to the newline and no further.
func readLine(r io.Reader) (string, error) {
	var line []byte
	for b := make([]byte, 1); ; line = append(line, b[0]) {
		if _, err := io.ReadFull(r, b); err != nil {
			return "", err
		}
		if b[0] == '\n' {
			return string(line), nil
		}
	}
}
