package cli_test

import (
	"crypto/sha256"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"xvsock/daemon"
	"xvsock/services"
	"xvsock/services/discovery"
	"xvsock/services/varlink"
	"xvsock/vsock/hybrid"
)

func TestHelpOfConnections(t *testing.T) {
	for _, command := range []string{"connect", "listen", "proxy"} {
		golden(t, "help-"+command, run(t, command, "--help").stdout)
	}
}

func TestBadUsageOfConnectionsIsToldInOneLine(t *testing.T) {
	for command, want := range map[string]string{
		"connect":                         "accepts 1 arg",
		"connect db1":                     `"db1" has no port: use NAME:PORT, such as db1:22 or db1:echo`,
		"connect :22":                     `":22" names no domain: use NAME:PORT`,
		"connect db1:":                    `port "": use a number from 1 to 4294967294 or the name of a service`,
		"connect db1:0":                   `port "0": use a number`,
		"connect db1:-1":                  `port "-1": use a number`,
		"connect db1:4294967295":          `port "4294967295": use a number`,
		"connect dbé:22":                  "use its id or uuid",
		"connect db1:22 -w -1":            "-w -1: use a number of seconds",
		"connect db1:22 -w soon":          `invalid argument "soon"`,
		"listen":                          "no port given",
		"listen -- cat":                   "no port given",
		"listen 70000000000":              `port "70000000000": use a number from 1 to 4294967294, the name of a well-known one, or 0 for any`,
		"listen 7000 cat":                 "put -- before the program: `xvsock listen PORT -- cat`",
		"listen 7000 7001 -- cat":         `one port, and not "7001"`,
		"listen 7000 --":                  "no program after --",
		"listen 7000 --fork":              "--fork is for a program",
		"listen 7000 --max 3 -- cat":      "--max goes with --fork",
		"listen 7000 -k --max 0 -- cat":   "--max 0: use 1 or more",
		"listen 7000 -- /nonexistent/x":   `program "/nonexistent/x": no such file or directory: name one in PATH`,
		"listen 7000 -- no-such-program":  `program "no-such-program": executable file not found in $PATH`,
		"proxy tcp:80":                    "accepts 2 arg",
		"proxy db1:22 tcp:80":             `LOCAL: "db1:22" is no end to listen at: use unix:/PATH`,
		"proxy tcp:80 db1:22":             `REMOTE: "db1:22" is no end to connect to: use unix:/PATH`,
		"proxy unix:x tcp:80":             "LOCAL: unix:x: use an absolute path",
		"proxy tcp:80 vsock:80":           "REMOTE: vsock:80: use vsock:CID:PORT",
		"proxy tcp:80 vsock:":             "REMOTE: vsock:: use vsock:CID:PORT",
		"proxy tcp:80 vsock:*:80":         `REMOTE: vsock:*:80: CID "*": use a number from 0 to 4294967294`,
		"proxy tcp:80 vsock:-1:80":        `REMOTE: vsock:-1:80: CID "-1": use a number`,
		"proxy tcp:80 vsock:db1:80":       `REMOTE: vsock:db1:80: CID "db1": use a number`,
		"proxy tcp:80 vsock:4294967295:1": `CID "4294967295": use a number from 0 to 4294967294`,
		"proxy tcp:80 vsock:3:0":          `REMOTE: vsock port "0": use a number from 1 to 4294967294`,
		"proxy tcp:80 vsock:3:ssh":        `REMOTE: vsock port "ssh": use a number`,
		"proxy vsock: tcp:80":             "LOCAL: vsock:: use vsock:PORT, which is heard from every CID",
		"proxy vsock:3:9000 tcp:80":       "LOCAL: vsock:3:9000: use vsock:PORT, which is heard from every CID",
		"proxy vsock:http tcp:80":         "LOCAL: vsock:http: use vsock:PORT",
		"proxy vsock:4294967295 tcp:80":   "PORT is a number from 0, for any, to 4294967294",
		"proxy vsock tcp:80":              "LOCAL: vsock:: use vsock:PORT",
		"proxy tcp:0 tcp:1 --idle -1s":    "--idle -1s: use a duration such as 90s or 1h, or 0 for no bound",
		"proxy tcp:0 tcp:1 --linger 0":    "--linger 0s: use a duration of more than 0",
		"proxy tcp:0 tcp:1 --idle soon":   `invalid argument "soon"`,
		"proxy tcp:0 tcp:0":               `REMOTE: tcp:0: port "0": use a number from 1 to 65535`,
		"proxy tcp:0 xvsock:db1":          `REMOTE: "db1" has no port`,
		"proxy tcp:0 tcp:1 --mode 0999":   `--mode "0999": use octal digits`,
		"proxy tcp:0 tcp:1 --mode 4755":   `--mode "4755": use octal digits`,
		"proxy tcp:0 tcp:1 --max 0":       "--max 0: use 1 or more",
		"proxy tcp:0 tcp:1 --log loud":    `--log "loud": use debug`,
	} {
		r := run(t, strings.Split(command, " ")...)
		if r.code != 125 || !strings.Contains(r.stderr, want) {
			t.Errorf("%q ends with %d: %swant 125 and %q", command, r.code, r.stderr, want)
		}
		oneLine(t, r)
	}
}

func TestWithoutADoorTheAnswerIsWhatToStart(t *testing.T) {
	dir := t.TempDir()
	abandoned := filepath.Join(dir, "abandoned")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: abandoned, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	for _, door := range []string{filepath.Join(dir, "none"), abandoned} {
		for _, command := range []string{"connect db1:22", "connect -z db1:22", "listen 7000", "listen 7000 --fork -- cat", "proxy xvsock:7000 tcp:80"} {
			args := strings.Split(command, " ")
			r := run(t, append([]string{args[0], "--door", door}, args[1:]...)...)
			if r.code != 125 || !strings.Contains(r.stderr, "start `xvsock backend` or `xvsock domain`") || !strings.Contains(r.stderr, door) {
				t.Errorf("%s ends with %d: %s", command, r.code, r.stderr)
			}
			oneLine(t, r)
		}
	}
}

// That the daemon's socket may not be opened is no denial of a connection.
func TestADoorThatIsNotForThisUserIsNoDenial(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to be somebody else")
	}
	dir, err := os.MkdirTemp("", "door")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	door := filepath.Join(dir, "door")
	l, err := net.Listen("unix", door)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for path, mode := range map[string]os.FileMode{dir: 0o755, door: 0o600} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"connect", "db1:22"}, {"listen", "7000"}, {"proxy", "xvsock:7000", "tcp:80"}} {
		cmd := program(t, append(args, "--door", door)...)
		cmd.Env = append(cmd.Env, nobodyVariable+"=1")
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != 125 || !strings.Contains(string(out), "only root may use "+door) || strings.Count(string(out), "\n") != 1 {
			t.Errorf("%v ends with %d: %s", args, code, out)
		}
	}
}

func TestTheDoorIsBesideTheControlSocket(t *testing.T) {
	r := run(t, "connect", "db1:22", "--control", "/nonexistent/control")
	if r.code != 125 || !strings.Contains(r.stderr, "/nonexistent/vsock.sock") {
		t.Errorf("%+v", r)
	}
}

func TestConnectTellsWhyThereIsNoConnection(t *testing.T) {
	d := newFakeDoor(t)
	banner := func(c *net.UnixConn) { io.WriteString(c, "which -z does not take") }
	d.serves(map[string]func(*net.UnixConn){"db1 22": banner, "self echo": banner})
	d.refuses(map[string]*hybrid.Error{
		"db1 23": {Errno: syscall.ECONNREFUSED}, "db1 24": {Errno: syscall.EACCES, Text: "no rule allows port 24"},
		"nobody 22": {Errno: syscall.EHOSTUNREACH}, "db1 25": {Errno: syscall.EIO, Text: evil},
		"db1 26": {Errno: syscall.ETIMEDOUT}, "db1 27": {Errno: syscall.EACCES}, "db1 28": {Errno: syscall.EPERM},
	})
	for address, want := range map[string]struct {
		code int
		text string
	}{
		"db1:22":    {0, "connected to db1:22\n"},
		"self:echo": {0, "connected to self:echo\n"},
		"db1:23":    {1, "connect to db1:23: connection refused"},
		"db1:24":    {126, "connect to db1:24: no rule allows port 24"},
		"nobody:22": {1, "connect to nobody:22: no route to host"},
		"db1:25":    {1, "connect to db1:25: "},
		"db1:26":    {1, "nobody answers in time"},
		"db1:27":    {126, "connect to db1:27: permission denied"},
		"db1:28":    {126, "connect to db1:28: operation not permitted"},
	} {
		r := run(t, "connect", "-z", "-v", address, "--door", d.path)
		if r.code != want.code || !strings.Contains(r.stderr, want.text) || r.stdout != "" {
			t.Errorf("%s: %+v, want %d and %q", address, r, want.code, want.text)
		}
		if want.code != 0 {
			oneLine(t, r)
		}
	}
	if r := run(t, "connect", "-z", "db1:22", "--door", d.path); r != (result{}) {
		t.Errorf("without -v it says %+v", r)
	}
	began := time.Now()
	if r := run(t, "connect", "-w", "1", "silent:1", "--door", d.path); r.code != 1 || !strings.Contains(r.stderr, "nobody answers in time") ||
		time.Since(began) < time.Second || time.Since(began) > 10*time.Second {
		t.Errorf("after %v: %+v", time.Since(began), r)
	}
}

func TestConnectCarriesEveryByteBothWays(t *testing.T) {
	d := newFakeDoor(t)
	d.serves(map[string]func(*net.UnixConn){"db1 echo": echo})
	data, sum := random(1 << 20)
	s := start(t, "connect", "db1:echo", "--door", d.path)
	go func() { s.stdin.Write(data); s.stdin.Close() }()
	if r := s.end(); r.code != 0 || r.stderr != "" || sha256.Sum256([]byte(r.stdout)) != sum {
		t.Errorf("%d, %d bytes, %s", r.code, len(r.stdout), r.stderr)
	}
}

func TestTheEndOfInputEndsOnlyTheSending(t *testing.T) {
	d := newFakeDoor(t)
	d.serves(map[string]func(*net.UnixConn){"db1 9": func(c *net.UnixConn) {
		all, _ := io.ReadAll(c)
		io.WriteString(c, "got "+string(all))
	}})
	s := start(t, "connect", "db1:9", "--door", d.path)
	io.WriteString(s.stdin, "question")
	s.stdin.Close()
	if r := s.end(); r.code != 0 || r.stdout != "got question" || r.stderr != "" {
		t.Errorf("%+v", r)
	}
}

func TestTheOthersEndOfSendingClosesOnlyTheOutput(t *testing.T) {
	d := newFakeDoor(t)
	got := make(chan string, 1)
	d.serves(map[string]func(*net.UnixConn){"db1 9": func(c *net.UnixConn) {
		io.WriteString(c, "bye")
		c.CloseWrite()
		all, _ := io.ReadAll(c)
		got <- string(all)
	}})
	s := start(t, "connect", "db1:9", "--door", d.path)
	if out, err := io.ReadAll(s.stdout); string(out) != "bye" || err != nil {
		t.Errorf("standard output is %q, %v", out, err)
	}
	io.WriteString(s.stdin, "more")
	s.stdin.Close()
	if all := <-got; all != "more" {
		t.Errorf("after its end the other side reads %q", all)
	}
	if r := s.end(); r.code != 0 || r.stderr != "" {
		t.Errorf("%+v", r)
	}
}

func TestConnectDoesNotWaitForInputThatNobodyTakes(t *testing.T) {
	d := newFakeDoor(t)
	d.serves(map[string]func(*net.UnixConn){"db1 9": func(c *net.UnixConn) { io.WriteString(c, "bye") }})
	s := start(t, "connect", "db1:9", "--door", d.path)
	if r := s.end(); r.code != 0 || r.stdout != "bye" || r.stderr != "" { // with its input open
		t.Errorf("%+v", r)
	}
}

func TestInputThatIsNotTakenIsAnError(t *testing.T) {
	d := newFakeDoor(t)
	d.serves(map[string]func(*net.UnixConn){"db1 9": func(c *net.UnixConn) { io.ReadFull(c, make([]byte, 1000)) }})
	s := start(t, "connect", "db1:9", "--door", d.path)
	go s.stdin.Write(make([]byte, 8<<20))
	if r := s.end(); r.code != 1 {
		t.Errorf("%+v", r)
	}
	d.serves(map[string]func(*net.UnixConn){"db1 10": func(c *net.UnixConn) {
		io.ReadFull(c, make([]byte, 1000))
		c.CloseRead()
		time.Sleep(200 * time.Millisecond) // while more of the input is read
		io.WriteString(c, "still here")
	}})
	s = start(t, "connect", "db1:10", "--door", d.path)
	go s.stdin.Write(make([]byte, 8<<20))                                        // which is not the end of it
	if r := s.end(); r.code != 1 || r.stdout != "still here" || r.stderr == "" { // "takes no more", or "lost" for what lay there unread
		t.Errorf("%+v", r)
	}
}

// The other end may be gone before the first byte of the file is looked at, or while it
// is read, or when it was sent.
func TestAFileThatIsNotTakenIsAnError(t *testing.T) {
	d := newFakeDoor(t)
	d.serves(map[string]func(*net.UnixConn){"db1 9": func(*net.UnixConn) {}})
	file := filepath.Join(t.TempDir(), "input")
	if err := os.WriteFile(file, []byte("not taken"), 0o644); err != nil {
		t.Fatal(err)
	}
	ends := func(name string) int {
		in, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		cmd := program(t, "connect", "db1:9", "--door", d.path)
		cmd.Stdin = in
		cmd.Run()
		return cmd.ProcessState.ExitCode()
	}
	for range 40 {
		if code := ends(file); code != 1 {
			t.Fatalf("with a file: exit status %d", code)
		}
	}
	for range 5 {
		if code := ends(os.DevNull); code != 0 {
			t.Fatalf("with nothing to send: exit status %d", code)
		}
	}
}

// It is so that sshd, inetd and socketpair(2) start programs.
func TestOneSocketCanBeInputAndOutput(t *testing.T) {
	d := newFakeDoor(t)
	d.serves(map[string]func(*net.UnixConn){"db1 9": func(c *net.UnixConn) {
		io.WriteString(c, "bye")
		c.CloseWrite()
		io.Copy(io.Discard, c)
	}})
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs, ours := os.NewFile(uintptr(fds[0]), "theirs"), os.NewFile(uintptr(fds[1]), "ours")
	defer ours.Close()
	cmd := program(t, "connect", "db1:9", "--door", d.path)
	cmd.Stdin, cmd.Stdout = theirs, theirs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	if all, err := io.ReadAll(ours); string(all) != "bye" || err != nil {
		t.Errorf("read %q, %v", all, err)
	}
	unix.Shutdown(fds[1], unix.SHUT_WR)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestSignalsEndConnect(t *testing.T) {
	d := newFakeDoor(t)
	began := make(chan struct{}, 2)
	d.serves(map[string]func(*net.UnixConn){"db1 9": func(c *net.UnixConn) {
		began <- struct{}{}
		io.Copy(io.Discard, c)
	}})
	for signal, want := range map[syscall.Signal]string{syscall.SIGINT: "xvsock: interrupt signal received\n", syscall.SIGTERM: "xvsock: terminated signal received\n"} {
		s := start(t, "connect", "db1:9", "--door", d.path)
		<-began
		s.cmd.Process.Signal(signal)
		if r := s.end(); r.code != 1 || r.stderr != want {
			t.Errorf("%v: %+v", signal, r)
		}
	}
}

func TestAReaderThatGoesAwayEndsConnectAsItEndsEveryProgram(t *testing.T) {
	d := newFakeDoor(t)
	d.serves(map[string]func(*net.UnixConn){"db1 9": func(c *net.UnixConn) {
		for {
			if _, err := c.Write(make([]byte, 4096)); err != nil {
				return
			}
		}
	}})
	s := start(t, "connect", "db1:9", "--door", d.path)
	s.stdout.Close()
	s.stderr.Close()
	s.cmd.Wait()
	if status := s.cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGPIPE {
		t.Errorf("it ends with %v", s.cmd.ProcessState)
	}
}

func TestConnectEndsAConnectionThatCarriesNothing(t *testing.T) {
	d := newFakeDoor(t)
	d.serves(map[string]func(*net.UnixConn){"db1 9": func(c *net.UnixConn) { io.Copy(io.Discard, c) }})
	s := start(t, "connect", "-w", "1", "db1:9", "--door", d.path)
	if r := s.end(); r.code != 1 || r.stderr != "xvsock: nothing was sent or received for 1s\n" {
		t.Errorf("%+v", r)
	}
}

func TestConnectionsAreCompletedByWhatThereIs(t *testing.T) {
	const noSpace = ":6" // and no files
	control := daemonThat(t, varlink.Methods{
		daemon.MethodStatus: answer(daemon.Status{Links: []daemon.Link{{Domain: 2, Name: "web"}, {Domain: 1, Name: "db-1"}, {Name: "$(reboot)"}}}),
		daemon.MethodServices: answer(daemon.ServicesReply{Services: []discovery.Record{
			{Domain: "web", Name: "http", Port: 8080, State: services.Serving}, {Domain: "a b", Name: "x", Port: 1}, {Domain: "web", Name: "$(x)", Port: 2},
		}}),
	})
	const targets = "@backend: db-1: self: web: web:http "
	for line, want := range map[string]string{
		"connect ":          targets + noSpace,
		"connect web:http ": noFiles,
		"listen ":           noFiles,
		"listen 7000 -- ":   alsoFiles,
		"proxy ":            "unix:/ tcp: vsock: xvsock: :2",
		"proxy tcp:0 ":      "unix:/ tcp: vsock: xvsock:@backend: xvsock:db-1: xvsock:self: xvsock:web: xvsock:web:http :2",
		"proxy a b ":        noFiles,
	} {
		completes(t, nowhere(), "--control "+control+" "+line, want)
	}
}
