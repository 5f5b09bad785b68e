package payload_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// program is the command of a small program, played by this binary.
func program(t testing.TB, name string, args ...string) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return append([]string{self, programWord, name}, args...)
}

func beProgram(name string, args []string) {
	switch name {
	case "cat":
		io.Copy(os.Stdout, os.Stdin)
	case "count": // says only after the end of its input how long that was
		n, _ := io.Copy(io.Discard, os.Stdin)
		fmt.Print(n)
	case "hello": // closes its output, then waits for the end of its input
		fmt.Print("hello")
		os.Stdout.Close()
		n, _ := io.Copy(io.Discard, os.Stdin)
		fmt.Fprintf(os.Stderr, "read %d\n", n)
	case "blind": // reads nothing
		os.Stdin.Close()
		fmt.Print("blind")
		sleep()
	case "env":
		fmt.Println(strings.Join(slices.Sorted(slices.Values(os.Environ())), "\n"))
		dir, _ := os.Getwd()
		groups, _ := os.Getgroups()
		fmt.Println("dir", dir, "ids", os.Getuid(), os.Getgid(), groups)
	case "fds":
		entries, _ := os.ReadDir("/proc/self/fd")
		for _, e := range entries {
			if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.HasPrefix(to, "anon_inode") {
				fmt.Println(e.Name(), to)
			}
		}
	case "exit":
		status, _ := strconv.Atoi(args[0])
		fmt.Print("bye")
		syscall.Exit(status)
	case "write": // n bytes, and ends
		n, _ := strconv.Atoi(args[0])
		os.Stdout.Write(make([]byte, n))
	case "drip": // writes for ever
		for {
			if _, err := os.Stdout.Write(make([]byte, 4096)); err != nil {
				syscall.Exit(0)
			}
		}
	case "parent": // leaves a child behind that holds everything open
		fmt.Printf("%d\n", child(args...))
	case "family": // deaf, with a deaf child
		signal.Ignore(unix.SIGTERM)
		fmt.Printf("%d\n%d\n", child("deaf"), os.Getpid())
		sleep()
	case "deaf":
		signal.Ignore(unix.SIGTERM)
		sleep()
	case "sleep":
		sleep()
	case "shout":
		lines, _ := strconv.Atoi(args[0])
		w := bufio.NewWriter(os.Stderr)
		fmt.Fprintln(w, strings.Repeat("x", 5000), "\x1b[31m")
		for i := range lines {
			fmt.Fprintln(w, "line", i)
		}
		w.Flush()
		fmt.Print("shouted")
	case "server":
		server(args)
	}
}

func sleep() { time.Sleep(5 * time.Minute) }

// child starts one of the programs and returns its pid. It is a process of its own
// session if its first argument says so.
func child(args ...string) int {
	cmd := exec.Command("/proc/self/exe", programWord, "sleep")
	if len(args) > 0 && args[0] == "deaf" {
		cmd = exec.Command("/proc/self/exe", programWord, "deaf")
	}
	if len(args) > 0 && args[0] == "session" {
		cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		syscall.Exit(1)
	}
	return cmd.Process.Pid
}

// server is an exec-once program: each connection hears what the program knows of it,
// and is echoed. SIGTERM makes it say so to the connections and end; with "stubborn"
// it does not.
func server(args []string) {
	if len(args) > 0 && args[0] == "stubborn" {
		signal.Ignore(unix.SIGTERM)
	}
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) || os.Getenv("LISTEN_FDS") != "1" {
		fmt.Println("no socket for me")
		syscall.Exit(1)
	}
	l, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		fmt.Println(err)
		syscall.Exit(1)
	}
	fmt.Println("serving as", os.Getenv("LISTEN_FDNAMES"), os.Getenv("XVSOCK_PORT"))
	term := make(chan os.Signal, 1)
	if len(args) == 0 {
		signal.Notify(term, unix.SIGTERM)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			syscall.Exit(1)
		}
		go func() {
			<-term
			fmt.Fprint(c, "last words")
			syscall.Exit(0)
		}()
		go func() {
			fmt.Fprintln(c, os.Getpid(), c.RemoteAddr())
			r := bufio.NewReader(c)
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					break
				}
				if line == "crash\n" {
					syscall.Kill(os.Getpid(), syscall.SIGKILL)
				}
				if line == "die\n" {
					fmt.Fprint(c, "dying")
					syscall.Exit(3)
				}
				fmt.Fprint(c, line)
			}
			c.(*net.UnixConn).CloseWrite()
		}()
	}
}
