// Package afvsock_test builds the examples that know of nothing but AF_VSOCK, and runs
// them against each other. Here their sockets are unix sockets underneath (see
// testdata/overunix.c); between domains of real Xen, the scenarios of package image run
// them.
package afvsock_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// need is the path of a program, of which a Debian package is what has it.
func need(t *testing.T, program, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("no %s here: apt-get install %s", program, pkg)
	}
	return path
}

// compile compiles a C file, as the comment at its top says it is, and returns the path
// of the program.
func compile(t *testing.T, source string, flags ...string) string {
	t.Helper()
	cc := need(t, "cc", "gcc libc6-dev linux-libc-dev")
	output := filepath.Join(t.TempDir(), strings.TrimSuffix(filepath.Base(source), ".c"))
	args := append([]string{"-Wall", "-Wextra", "-Werror", "-std=c11", "-o", output, source}, flags...)
	if out, err := exec.Command(cc, args...).CombinedOutput(); err != nil {
		t.Fatalf("cc %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return output
}

// ground is where programs run whose AF_VSOCK is made of unix sockets.
type ground struct {
	t       *testing.T
	dir     string
	preload string
}

// newGround makes one. Domain cid is at the other end of every accepted connection.
func newGround(t *testing.T, cid int) *ground {
	t.Helper()
	lookAtAll(t)
	// A unix socket's path must be short.
	dir, err := os.MkdirTemp("", "afvsock")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Setenv("OVERUNIX", dir)
	t.Setenv("OVERUNIX_CID", fmt.Sprint(cid))
	return &ground{t: t, dir: dir, preload: compile(t, "testdata/overunix.c", "-shared", "-fPIC", "-ldl")}
}

// lookAtAll looks at every example, so that go test knows of them: else it would take a
// result from its cache although one has changed that only other programs read.
func lookAtAll(t *testing.T) {
	t.Helper()
	for _, pattern := range []string{"*/*.c", "*/*.py", "*/*.sh"} {
		files, err := filepath.Glob(pattern)
		if err != nil || files == nil {
			t.Fatalf("no %s: %v", pattern, err)
		}
		for _, file := range files {
			if _, err := os.Stat(file); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// command is a command whose sockets are the ground's.
func (g *ground) command(name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(g.t.Context(), name, args...)
	c.Env = append(os.Environ(), "LD_PRELOAD="+g.preload, "PYTHONDONTWRITEBYTECODE=1")
	c.WaitDelay = 5 * time.Second
	return c
}

// output is what a program's standard error says, while it runs.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start starts a program, which is killed at the end of the test with all its children.
func (g *ground) start(name string, args ...string) *output {
	g.t.Helper()
	c, said := g.command(name, args...), new(output)
	c.Stderr = said
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() {
		syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		c.Wait()
	})
	return said
}

// listens waits for somebody to listen on a port.
func (g *ground) listens(port string) {
	g.t.Helper()
	g.until("nobody listens on "+port, func() bool {
		table, _ := os.ReadFile("/proc/net/unix")
		for line := range strings.Lines(string(table)) {
			// The flags of a socket that listens: SO_ACCEPTCON.
			if strings.HasSuffix(strings.TrimSpace(line), " "+filepath.Join(g.dir, port)) && strings.Contains(line, " 00010000 ") {
				return true
			}
		}
		return false
	})
}

// until waits for something that another process does.
func (g *ground) until(otherwise string, ok func() bool) {
	g.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			g.t.Fatal(otherwise)
		}
	}
}

// run runs a program to its end.
func (g *ground) run(stdin []byte, name string, args ...string) (stdout, stderr string, err error) {
	g.t.Helper()
	c := g.command(name, args...)
	var out, errs bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = bytes.NewReader(stdin), &out, &errs
	err = c.Run()
	return out.String(), errs.String(), err
}

func TestTheCExamplesCarryAStreamBothWays(t *testing.T) {
	g := newGround(t, 0x10000)
	client, echo := compile(t, "c/client.c"), compile(t, "c/echo.c")
	said := g.start(echo, "5000")
	g.listens("5000")
	data := make([]byte, 5<<20) // more than all buffers in between
	rand.Read(data)
	out, errs, err := g.run(data, client, "7", "5000")
	if err != nil || out != string(data) {
		t.Errorf("client: %v, %d of %d bytes came back\n%s", err, len(out), len(data), errs)
	}
	g.until("echo does not say who connected", func() bool { return strings.Contains(said.String(), "CID 65536, port 4242") })
}

func TestTheCClientTellsThatNotAllWasTaken(t *testing.T) {
	python := need(t, "python3", "python3")
	g := newGround(t, 5)
	client := compile(t, "c/client.c")
	g.start(python, "-c", `
import socket
s = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
s.bind((socket.VMADDR_CID_ANY, 5000))
s.listen()
conn = s.accept()[0]
conn.recv(100)
conn.shutdown(socket.SHUT_RDWR)
s.accept()`)
	g.listens("5000")
	_, errs, err := g.run(make([]byte, 5<<20), client, "7", "5000")
	if err == nil || !strings.Contains(errs, "did not take all of the input") {
		t.Errorf("%v: %q", err, errs)
	}
}

func TestTheCExamplesSayWhatIsWrong(t *testing.T) {
	g := newGround(t, 5)
	client, echo := compile(t, "c/client.c"), compile(t, "c/echo.c")
	g.start(echo, "5000")
	g.listens("5000")
	for _, c := range []struct {
		name    string
		command []string
		code    int
		want    string
	}{
		{"nobody listens", []string{client, "7", "5001"}, 1, "nobody listens, or denied"},
		{"a CID that is none", []string{client, "db1", "5000"}, 2, "db1: want a number"},
		{"a port too many", []string{client, "7", "0xFFFFFFFF"}, 2, "0xFFFFFFFF: want a number"},
		{"no port", []string{client, "7"}, 2, "usage"},
		{"an empty port", []string{client, "7", ""}, 2, "want a number"},
		{"the port is taken", []string{echo, "5000"}, 1, "port 5000"},
		{"a port that is none", []string{echo, "http"}, 2, "usage"},
		{"a port with something behind it", []string{echo, "5002x"}, 2, "usage"},
		{"no port to listen on", []string{echo}, 2, "usage"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, errs, err := g.run(nil, c.command[0], c.command[1:]...)
			exit, ok := err.(*exec.ExitError)
			if !ok || exit.ExitCode() != c.code || !strings.Contains(errs, c.want) {
				t.Errorf("%v: %q", err, errs)
			}
		})
	}
}

func TestThePythonClientConnectsAgain(t *testing.T) {
	python := need(t, "python3", "python3")
	g := newGround(t, 5)
	finished := make(chan string, 1)
	go func() {
		out, errs, err := g.run(nil, python, "python/client.py", "7", "5000", "3")
		finished <- fmt.Sprintf("%v\n%s%s", err, out, errs)
	}()
	time.Sleep(300 * time.Millisecond) // a while with nobody there
	g.start(python, "python/server.py", "5000")
	got := <-finished
	if !strings.Contains(got, "<nil>\ndomain 5: line 1\ndomain 5: line 2\ndomain 5: line 3\n") ||
		!strings.Contains(got, "7:5000: nobody listens there, or policy denies it") {
		t.Errorf("the client: %s", got)
	}
}

func TestThePythonClientGoesOnWhereItWasCutOff(t *testing.T) {
	python := need(t, "python3", "python3")
	g := newGround(t, 5)
	// A server that ends after an answer and one more line, as a revocation looks.
	g.start(python, "-c", `
import socket
s = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
s.bind((socket.VMADDR_CID_ANY, 5000))
s.listen()
while True:
    conn, _ = s.accept()
    with conn:
        conn.sendall(conn.recv(100))
        conn.recv(100)`)
	g.listens("5000")
	out, errs, err := g.run(nil, python, "python/client.py", "7", "5000", "3")
	if err != nil || out != "line 1\nline 2\nline 3\n" || strings.Count(errs, "it has closed the connection; again in 0.1 s") != 2 {
		t.Errorf("%v\n%s%s", err, out, errs)
	}
}

func TestThePythonServerNumbersDomain0As0(t *testing.T) {
	python := need(t, "python3", "python3")
	g := newGround(t, 0x10000)
	client := compile(t, "c/client.c")
	g.start(python, "python/server.py", "5000")
	g.listens("5000")
	out, errs, err := g.run([]byte("one\ntwo\n"), client, "7", "5000")
	if err != nil || out != "domain 0: one\ndomain 0: two\n" {
		t.Errorf("%v: %q\n%s", err, out, errs)
	}
}

func TestThePythonExamplesSayHowTheyAreUsed(t *testing.T) {
	python := need(t, "python3", "python3")
	for _, args := range [][]string{{"python/client.py", "db1", "7"}, {"python/client.py"}, {"python/server.py"}, {"python/server.py", "http"}} {
		c := exec.Command(python, args...)
		c.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
		if out, err := c.CombinedOutput(); err == nil || !strings.HasPrefix(string(out), "usage: ") {
			t.Errorf("%v: %v, %q", args, err, out)
		}
	}
}

func TestTheShellExamplesSendAFileWholeOrNotAtAll(t *testing.T) {
	for _, script := range []string{"shell/send.sh", "shell/receive.sh"} {
		if out, err := exec.Command("sh", "-n", script).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", script, err, out)
		}
	}
	need(t, "socat", "socat")
	g := newGround(t, 5)
	dir := t.TempDir()
	file, got := filepath.Join(dir, "file"), filepath.Join(dir, "got")
	data := make([]byte, 3<<20)
	rand.Read(data)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	receive := func() <-chan error {
		ended := make(chan error, 1)
		go func() {
			_, errs, err := g.run(nil, "shell/receive.sh", "5001", got)
			if err != nil {
				err = fmt.Errorf("%w: %s", err, errs)
			}
			ended <- err
		}()
		g.listens("5001")
		return ended
	}
	ended := receive()
	if _, errs, err := g.run(nil, "shell/send.sh", "0x7", "5001", file); err != nil {
		t.Errorf("send: %v\n%s", err, errs)
	}
	if err := <-ended; err != nil {
		t.Errorf("receive: %v", err)
	}
	if whole, err := os.ReadFile(got); err != nil || !bytes.Equal(whole, data) {
		t.Errorf("%v; %d of %d bytes came", err, len(whole), len(data))
	}

	os.Remove(got)
	os.Remove(filepath.Join(g.dir, "5001"))
	ended = receive()
	part := append([]byte("0000  -\n"), data[:1000]...)
	if _, errs, err := g.run(part, "socat", "-t", "5", "-", "VSOCK-CONNECT:7:5001"); err != nil {
		t.Errorf("socat: %v\n%s", err, errs)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "not all of") {
		t.Errorf("receiving a part: %v", err)
	}
	if left, _ := filepath.Glob(got + "*"); left != nil {
		t.Errorf("a part leaves %v", left)
	}
}
